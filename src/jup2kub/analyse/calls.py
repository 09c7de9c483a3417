"""Calls: who is called, and with what."""

from __future__ import annotations

import ast

from jup2kub.analyse.arguments import Args
from jup2kub.analyse.methods import Methods
from jup2kub.analyse.record import SPECULATIVE
from jup2kub.analyse.values import UNKNOWN, Value, part


class Calls(Methods):
    """Adds calls to a walk."""

    discarding: ast.expr | None = None

    def call(self, node: ast.Call) -> Value:
        discarded = self.discarding is node
        self.discarding = None
        special = self._special(node)
        if special is not None:
            return special
        receiver = self.passive(node.func.value) if isinstance(node.func, ast.Attribute) else None
        if receiver is not None and isinstance(node.func, ast.Attribute):
            callee = self._method_value(receiver, node.func.attr)
        else:
            callee = self.passive(node.func)
        args = self.arguments(node)
        self.spend(0.0)
        if callee is not None and callee.code:
            return self.run_call(callee, args)
        if callee is not None and callee.library is not None:
            if callee.library.startswith("builtins.") and callee.library.count(".") == 1:
                return self._builtin(callee.library[9:], args, node)
            return self.library_call(callee, args, node, discarded)
        if receiver is not None and isinstance(node.func, ast.Attribute):
            return self._method(receiver, node.func.attr, args, node, discarded)
        return self._unknown(callee or UNKNOWN, args, node)

    def _method_value(self, receiver: Value, name: str) -> Value | None:
        if receiver.library is not None:
            return self._library_attribute(receiver, name)
        own = self._own_attribute(receiver, name)
        if own is not None:
            return own if own.code else None
        if any(role == "instance" for _, role in receiver.code) or receiver.code:
            self.run_methods(receiver)
        return None

    def arguments(self, node: ast.Call) -> Args:
        args = Args()
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                args.rest.append(self.consume(argument.value))
            else:
                args.values.append(self.passive(argument))
        for keyword in node.keywords:
            value = self.passive(keyword.value)
            if keyword.arg is None:
                self.operate(value)
                self.run_method(value, "keys")
                args.rest.append(part(value))
            else:
                args.named[keyword.arg] = value
        return args

    # anything else

    def _unknown(self, callee: Value, args: Args, node: ast.Call) -> Value:
        """Note a call of something the text does not tell: it may change its arguments, and itself."""
        self.mutate(callee.roots, SPECULATIVE)
        for value in args.all:
            self.mutate(value.roots, SPECULATIVE)
            self.escape(value, args.all)
        if self.function is not None:
            self.rec.called.update(int(r[1:]) for r in callee.roots if r[0] == "%" and r[1:].isdigit())
        if not callee.packages and not any(r[0] in "%^" for r in callee.roots):
            self.rec.opaque.append(ast.unparse(node)[:80])
        if args.roots | callee.roots:
            self.join(args.roots | callee.roots)
        return Value(
            callee.roots | args.roots, callee.code | args.code, None, callee.packages | args.packages
        )

    def run_call(self, callee: Value, args: Args) -> Value:
        raise NotImplementedError
