"""Notebooks at random: small programs over the idioms by which one cell reaches into another.

A notebook is made of statements from `GRAMMAR`. A statement names, in braces, what kinds of variables it needs (`{list}`,
`{frame}`; `{list1}`, `{list2}` where it needs two), numbers (`{n}`), and in `{new}` the name that it binds. The same seed gives
the same notebook, whatever the machine.
"""

from __future__ import annotations

import random
import re
import string
from dataclasses import dataclass

NAMES = ("a", "b", "c", "d", "e", "m", "t", "u")
"""What statements bind: few, so that names are bound again and again."""
IMPORTS = "import os, random, heapq, functools, itertools, collections, copy, json, math\nimport numpy as np\nimport pandas as pd"


@dataclass(frozen=True)
class Statement:
    """One way to write a line or two of a cell."""

    text: str
    makes: str = ""
    """Kind of what `{new}` is then; empty = it binds none of `NAMES`."""
    defines: str = ""
    """A fixed name that it binds (a function, a class), which is then a kind of its own."""
    theme: str = "core"


def _table(theme: str, text: str) -> tuple[Statement, ...]:
    """Read statements: `kind | text`, `:name | text` where a name of its own is bound; ⏎ for a new line."""
    found = []
    for line in text.strip().splitlines():
        kind, _, body = (part.strip() for part in line.partition(" | "))
        body = body.replace(" ⏎ ", "\n").replace(" ⏎", "\n")
        made = kind.strip("-")
        found.append(
            Statement(body, "" if made[:1] == ":" else made, made[1:] if made[:1] == ":" else "", theme)
        )
    return tuple(found)


GRAMMAR = (
    *_table(
        "lists",
        """
list | {new} = [{n}, {n}]
list | {new} = {list}
- | {list}.append({n})
list | {new} = {list} + [{n}]
list | {new} = {list}[:]
list | {new} = [x for x in {list}]
list | {new} = [{list1}, {list2}]
list | {new} = sorted({list}, key=str)
list | {new} = list(map(lambda t: t * 2, {list}))
- | {list1} += {list2}
- | {list} *= 2
- | {list}[0] = {n}
- | {list}[:1] = [{n}, {n}]
- | del {list}[-1]
- | {list}.reverse()
- | for q in range(3): ⏎     {list}.insert(0, q)
- | for q in {list}[:2]: ⏎     print(q)
list | if len({list1}) > 2: ⏎     {new} = {list1} ⏎ else: ⏎     {new} = {list2}
list | try: ⏎     {new} = {list}[7] ⏎ except IndexError: ⏎     {new} = {list}
list | {new} = [] ⏎ for q in {list}: ⏎     {new}.append(q)
list | while len({list}) < 3: ⏎     {list}.append(len({list})) ⏎ {new} = {list}
list | ({new} := {list}).append({n})
- | print((lambda *args, **kw: (args, sorted(kw)))(*{list}, key={list}))
list | *{new}, k = {list}
- | first, *rest = {list} ⏎ rest.append({n})
- | {list1}, {list2} = {list2}, {list1}
- | heapq.heappush({list}, {n}) if all(isinstance(x, int) for x in {list}) else None
list | {new} = collections.deque({list}, maxlen=3)
- | k = {n}
- | k = len({list})
list | {new} = [k] * 2
- | assert {list} is not None
- | for {list1}[0] in (1, 2): ⏎     pass
list | {new} = copy.copy({list})
list | {new} = copy.deepcopy({list})
list | match {list}: ⏎     case [first, *_]: ⏎         {new} = [first] ⏎     case _: ⏎         {new} = []
list | {new} = {list} if k % 2 else []
list | {new} = {list} and {list}[-1:]
list | {new} = {list}.__add__([k])
list | {new} = list(zip({list1}, {list2}))
list | {new} = list(reversed({list}))
- | print({list}.count(k), k in {list})
- | print(f"{{{list}}} {{k:>3}}")
""",
    ),
    *_table(
        "dicts",
        """
dict | {new} = {{'x': {list}, 'y': 1}}
dict | {new} = {dict}
dict | {new} = dict({dict})
dict | {new} = {{**{dict}, 'z': {n}}}
dict | {new} = {dict} | {{'w': [k]}}
- | {dict}['x'] = [len({dict})]
- | {dict}['l{n}'] = {list}
list | {new} = {dict}.setdefault('x', [0])
list | {new} = {dict}.get('x', [])
list | {new} = list({dict}.values())
list | {new} = list({dict})
- | {dict}.update(k=[k])
- | {dict1}.update({dict2})
- | for v in {dict}.values(): ⏎     v.append({n}) if isinstance(v, list) else None
- | for key, v in list({dict}.items()): ⏎     {dict}[key] = [v]
dict | {new} = {{key: v for key, v in {dict}.items()}}
- | {dict}.pop('x', None)
dict | {new} = collections.defaultdict(list)
- | {dict}['x'] if 'x' in {dict} else None
dict | {new} = collections.defaultdict(list) ⏎ {new}['x'].append(k)
dict | {new} = collections.OrderedDict(x={list})
dict | {new} = collections.Counter(map(str, {list}))
list | {new} = functools.reduce(lambda s, v: s + [v], {list}, [])
dict | {new} = {{'f': (lambda: k), 'x': [k]}}
- | print({dict}['f']() if 'f' in {dict} else 0)
- | {dict} |= {{'v': {list}}}
dict | {new} = collections.ChainMap({dict}, {{'x': 0}})
""",
    ),
    *_table(
        "arrays",
        """
array | {new} = np.arange({n} + 3) * 1.5
array | {new} = {array}[1:]
array | {new} = {array}
array | {new} = {array} * 2
array | {new} = {array}.copy()
- | {array}[0] += {n}
- | {array} += 1
- | {array}[{array} > 2] = 0
- | np.multiply({array}, 2, out={array})
- | {array}.sort()
- | {array}.fill(k)
array | {new} = {array}.reshape(-1, 1)
array | {new} = {array}.T
array | {new} = np.asarray({array})
array | {new} = np.concatenate([{array1}, {array2}], axis=None)
array | {new} = np.where({array} > 1, {array}, 0)
dict | {new} = {{'x': {array}[:2], 'y': {array}}}
list | {new} = [{array}[:1], {array}]
list | {new} = {array}.tolist()
- | for row in {array}: ⏎     row += 0
- | view = {array}.ravel() ⏎ view[-1] = {n}
- | np.random.seed({n})
array | np.random.seed({n}) ⏎ {new} = np.random.rand(3)
rng | {new} = np.random.default_rng({n})
array | {new} = {rng}.random(2)
rng | {new} = {rng}
- | {rng}.shuffle({array})
- | {array}.shape = -1
array | {new} = np.frombuffer({array}.tobytes())
- | {array}.flat[0] = k
- | np.put({array}, 0, k)
- | np.add.at({array}, 0, 1) if {array}.ndim == 1 else None
- | print({array}.sum(), np.linalg.norm({array}))
array | with np.nditer({array}, op_flags=['readwrite']) as it: ⏎     for x in it: ⏎         x[...] = x + 1 ⏎ {new} = {array}
""",
    ),
    *_table(
        "frames",
        """
frame | {new} = pd.DataFrame({{'u': [1, 2, {n}], 'v': [k, 2.5, 1.0]}})
frame | {new} = {frame}
frame | {new} = {frame}.copy()
frame | {new} = {frame}[{frame}['u'] > 0]
frame | {new} = {frame}.assign(w={frame}['u'] * 2)
- | {frame}['w'] = {frame}['u'] + k
- | {frame}.loc[0, 'u'] = {n}
- | {frame}.iloc[-1, 0] = k
- | {frame}['u'] += 1
- | {frame}.drop(columns=['w'], inplace=True, errors='ignore')
- | {frame}.sort_values('u', inplace=True)
- | {frame}.fillna(0, inplace=True)
- | {frame}.insert(0, f'c{{len({frame}.columns)}}', 0)
- | {frame}.columns = [str(x) for x in {frame}.columns]
- | {frame}.index.name = 'i{n}'
- | {frame}.attrs['note'] = [k]
- | {frame}.reset_index(drop=True, inplace=True)
series | {new} = {frame}['u']
series | {new} = {frame}.u
series | {new} = {series} * 2
- | {series}.iloc[0] = {n}
- | {series} += 1
array | {new} = {frame}[['u']].to_numpy()
array | {new} = {series}.values.copy()
frame | {new} = {frame}.groupby('u').sum(numeric_only=True).reset_index()
frame | {new} = pd.concat([{frame1}, {frame2}], ignore_index=True)
frame | {new} = pd.merge({frame1}, {frame2}, on='u', suffixes=('', '_r'))[['u']]
dict | {new} = {{'x': {frame}, 'y': {series}}}
dict | {new} = {{name: part for name, part in {frame}.groupby('u')}}
- | for i, row in {frame}.iterrows(): ⏎     {frame}.at[i, 'u'] = row['u'] + 1
frame | {new} = {frame}.apply(lambda column: column + k if column.dtype.kind in 'if' else column)
frame | {new} = {frame}.pipe(lambda t: t.head(2))
list | {new} = {frame}['u'].tolist()
- | for name in ('u', 'w'): ⏎     if name in {frame}: ⏎         {frame}[name] = {frame}[name] * 2
- | part = {frame}.loc[:, 'u'] ⏎ print(part.tolist())
frame | {new} = pd.DataFrame({{'u': {list}[:2] if len({list}) > 1 else [0, 1]}})
frame | {new} = pd.DataFrame({array}.ravel()[:2].reshape(2, 1), columns=['u'])
- | pd.set_option('display.precision', {n} + 1)
- | print({frame}.describe().round(2).to_string())
- | print({frame})
- | pd.options.display.max_rows = {n} + 4
- | del {frame}['w']
- | {frame}.pop('w') if 'w' in {frame} else None
- | {frame}.eval('w = u + @k', inplace=True)
frame | {new} = {frame}.query('u > @k - 9')
""",
    ),
    *_table(
        "functions",
        """
:f | def f(v): ⏎     return [v, k, len(w)]
:f | def f(v=k): ⏎     w.append(v) ⏎     return w
:f | f = lambda v, more=w: [v] + more
:f | @functools.lru_cache ⏎ def f(v): ⏎     return [v, k]
:f | def f(v): ⏎     global k ⏎     k = k + 1 ⏎     return [v] * (k % 3)
:f | def f(v): ⏎     def inner(x, seen=w): ⏎         seen.append(x) ⏎         return list(seen) ⏎     return inner(v)
:f | f = functools.partial(sorted, [3, 1, k])
list | {new} = f() if {n} < 0 else f({n})
list | {new} = f({n})
list | {new} = f({n}) ⏎ {new}.append(k)
- | w = [{n}] * {n}
- | w = {list}
- | print(f({n}))
list | {new} = w
- | w.append(k)
:g | def g(v, x=[]): ⏎     x.append(v) ⏎     return x
:g | def g(v): ⏎     v.append(k) ⏎     return v
:g | def g(v): ⏎     return f(len(v))
:g | def g(v, *args, **kw): ⏎     for x in args: ⏎         v.extend(x) ⏎     return v
:g | def g(v): ⏎     for x in v: ⏎         yield x, k
list | {new} = list(g({list}))
list | {new} = g({list})
- | g({list})
iterator | {new} = iter(g({list}))
:counter | def make(): ⏎     total = [0] ⏎     def count(): ⏎         total[0] += 1 ⏎         return total[0] ⏎     return count ⏎ counter = make()
- | print(counter())
- | k = counter()
:again | again = counter
- | print(again())
:deco | registry = [] ⏎ def deco(fn): ⏎     registry.append(fn.__name__) ⏎     return fn
- | deco(f) ⏎ print(len(registry))
:h | @deco ⏎ def h(): ⏎     return k
- | print(h(), registry)
- | f.note = [k] ⏎ print(f.note)
- | print(getattr(f, 'note', None))
- | g.__defaults__ = ([9],) if g.__defaults__ else None
:rec | def rec(n): ⏎     return [] if n <= 0 else [n] + rec(n - 1) + w[:1]
list | {new} = rec({n})
list | {new} = [f, g] and f({n})
list | {new} = [fn({n}) for fn in (f,)]
- | fs = {{'f': f}}
list | {new} = fs['f']({n})
- | k: int = {n} + len(w)
list | {new} = max([w, {list}], key=len)
""",
    ),
    *_table(
        "classes",
        """
:C | class C: ⏎     count = {n} ⏎     def __init__(self, v): ⏎         self.v = v ⏎         C.count += 1
:C | class C: ⏎     seen = [] ⏎     def __init__(self, v): ⏎         self.v = v ⏎         self.seen.append(k) ⏎     @property ⏎     def count(self): ⏎         return len(self.seen)
:C | class C: ⏎     count = {n} ⏎     def __init__(self, v): ⏎         self.v = list(v) ⏎     def push(self, x): ⏎         self.v.append(x) ⏎         return self
object | {new} = C({list})
object | {new} = {object}
- | {object}.v.append({n})
- | {object}.v = [k]
- | {object}.push({n}) if hasattr({object}, 'push') else None
- | C.count = {n}
- | print(C.__name__, {object}.v, {object}.count)
- | {object}.extra = {list}
list | {new} = {object}.v
list | {new} = [{object}, {object}.v] and {object}.v
dict | {new} = {object}.__dict__
- | setattr({object}, 'v', [{n}])
- | vars({object})['v'] = [k, {n}]
:D | class D(C): ⏎     def more(self): ⏎         return self.v + [k]
object | {new} = D({list})
list | {new} = {object}.more() if hasattr({object}, 'more') else []
:E | class E: ⏎     def __init__(self, scale=1): ⏎         self.scale = scale ⏎     def fit(self, X): ⏎         self.mean_ = float(np.mean(X)) * self.scale ⏎         return self ⏎     def transform(self, X): ⏎         return [x - self.mean_ for x in np.ravel(X)]
estimator | {new} = E(scale={n})
estimator | {new} = {estimator}.fit({array})
estimator | {new} = E().fit({array})
- | {estimator}.fit({array})
list | {new} = {estimator}.transform({array}) if hasattr({estimator}, 'mean_') else []
- | {estimator}.scale = k
- | models = {{n: E(n).fit({array}) for n in range(2)}}
- | models[0].scale = {n} ⏎ print(models[1].mean_)
- | print([m.scale for m in models.values()])
:P | import dataclasses ⏎ @dataclasses.dataclass ⏎ class P: ⏎     x: int = {n} ⏎     items: list = dataclasses.field(default_factory=list)
point | {new} = P(k)
point | {new} = P(items={list})
- | {point}.items.append({n})
- | {point}.x += 1
point | {new} = dataclasses.replace({point}, x={n})
- | print({point})
:Ctx | class Ctx: ⏎     def __enter__(self): ⏎         w.append('in') ⏎         return w ⏎     def __exit__(self, *error): ⏎         w.append('out')
- | with Ctx() as inner: ⏎     inner.append({n})
:Acc | class Acc: ⏎     def __init__(self): ⏎         self.total = {n} ⏎     def __call__(self, x): ⏎         self.total += x ⏎         return self.total ⏎     def __iadd__(self, x): ⏎         self.total += x ⏎         return self
acc | {new} = Acc()
- | print({acc}({n}))
- | {acc} += {n}
acc | {new} = {acc}
- | print({acc}.total)
:Seq | class Seq: ⏎     def __init__(self, items): ⏎         self.items = items ⏎     def __len__(self): ⏎         return len(self.items) ⏎     def __getitem__(self, i): ⏎         k_seen.append(i) ⏎         return self.items[i] ⏎ k_seen = []
seq | {new} = Seq({list})
- | print(len({seq}), list({seq}), len(k_seen))
list | {new} = {seq}.items
- | print(C.__mro__[0].__name__, getattr(C, 'count', None) if not isinstance(C.count, property) else 'p')
- | C.push = lambda self, x: self.v.append((x, k))
""",
    ),
    *_table(
        "iterators",
        """
iterator | {new} = iter({list})
iterator | {new} = (x for x in {list})
iterator | {new} = (f"{{x}}{{k}}" for x in {list})
iterator | {new} = itertools.count({n})
iterator | {new} = zip({list}, itertools.count({n}))
iterator | {new} = enumerate({list})
iterator | {new} = map(str, {list})
iterator | {new} = itertools.chain({list1}, {list2})
iterator | {new} = {iterator}
- | z = next({iterator}, -1) ⏎ print(z)
list | {new} = list(itertools.islice({iterator}, 2))
- | print(next({iterator}, None))
list | {new} = [next({iterator}, 0) for _ in range(2)]
- | for z in {iterator}: ⏎     print(z) ⏎     break
iterator | {new} = itertools.islice({iterator}, 3)
dict | {new} = {{'x': [next({iterator}, 0)], 'it': 0}}
list | {new} = [{list}, next({iterator}, 0)]
""",
    ),
    *_table(
        "world",
        """
- | random.seed({n})
- | print(random.random() if SEEDED else 0)
list | {new} = [random.randrange(9) for _ in range(2)]
- | random.shuffle({list})
list | {new} = random.sample(range(20), 2)
list | {new} = random.choices({list}, k=2)
rnd | {new} = random.Random({n})
list | {new} = [{rnd}.randrange(50)]
- | {rnd}.shuffle({list})
- | with open('log{n}.txt', 'a') as fh: ⏎     fh.write(str({list}) + '\\n')
- | for q in range(2): ⏎     with open(f'log{{q}}.txt', 'a') as fh: ⏎         fh.write(f'{{k}}\\n')
- | print(sorted(os.listdir('.'))[:9])
- | print(open('log1.txt').read() if os.path.exists('log1.txt') else 'none')
- | name = f'log{{k % 3}}.txt' ⏎ print(open(name).read() if os.path.isfile(name) else 'none')
- | json.dump([k], open('log0.txt', 'w'))
- | os.remove('log1.txt') if os.path.exists('log1.txt') else None
- | {frame}.to_csv('log2.txt', index=False)
frame | {new} = pd.read_csv('log2.txt') if os.path.exists('log2.txt') else pd.DataFrame({{'u': [1]}}) ⏎ {new} = {new} if 'u' in {new} else pd.DataFrame({{'u': [2]}})
- | os.environ['RATE'] = str(k)
- | print(os.environ.get('RATE'))
- | os.makedirs('sub', exist_ok=True) ⏎ os.chdir('sub') if not os.getcwd().endswith('sub') else None
- | print(os.path.basename(os.getcwd()) == 'sub')
- | os.chdir('..') if os.getcwd().endswith('sub') else None
- | np.set_printoptions(precision={n} + 1)
- | print(np.array([1 / 3, k]))
- | math.note = k
- | print(getattr(math, 'note', None))
- | import pathlib; pathlib.Path(f'log{{k % 2}}.txt').write_text('p')
- | import decimal; decimal.getcontext().prec = {n} + 3
- | import decimal; print(decimal.Decimal(1) / 7)
- | import types; box = types.SimpleNamespace(items={list})
- | box.items.append({n})
- | print(box.items)
- | box.note = k
- | import warnings; warnings.simplefilter('ignore')
- | import contextlib, io ⏎ with contextlib.redirect_stdout(io.StringIO()) as out: ⏎     print({list}) ⏎ print(len(out.getvalue()))
- | import io; stream = io.StringIO() ⏎ print(k, file=stream)
- | print({n}, file=stream); print(stream.getvalue())
- | del k ⏎ k = {n}
- | del {list} ⏎ {list} = [{n}]
- | exec('k = {n}')
- | print('k' in globals(), 'undefined_yet' in globals())
- | undefined_yet = 1
- | import matplotlib; matplotlib.rcParams['lines.linewidth'] = float({n})
- | import matplotlib; print(matplotlib.rcParams['lines.linewidth'])
""",
    ),
)
"""Every statement."""
START = f"{IMPORTS}\nSEEDED = False\nrandom.seed(0); np.random.seed(0); SEEDED = True\nk = 3\nw = [1]\na = [1, 2]\nb = {{'x': [3]}}\nc = [4]\nd = [a]"
_START_KINDS = {"a": "list", "b": "dict", "c": "list", "d": "list"}
_SHOWN = {
    "list": "{}",
    "dict": "{}",
    "array": "{}.tolist()",
    "frame": "{}.to_csv()",
    "series": "{}.tolist()",
    "object": "{}.v",
    "estimator": "vars({})",
    "point": "{}",
    "acc": "{}.total",
    "seq": "{}.items",
}
_THEMES = tuple(dict.fromkeys(s.theme for s in GRAMMAR))


_OWN = {s.defines for s in GRAMMAR if s.defines}


class _Numbers(string.Formatter):
    """Fills in a statement: every `{n}` is another number."""

    def __init__(self, source: random.Random) -> None:
        self.source = source

    def get_value(self, key: int | str, args: object, kwargs: object) -> object:
        assert isinstance(kwargs, dict)
        return str(self.source.randrange(5)) if key == "n" else kwargs[key]


class _Writer:
    """Writes one notebook."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kinds = dict(_START_KINDS)
        self.defined: set[str] = set()
        themes = self.random.sample(_THEMES, self.random.randrange(2, 5))
        self.choices = [s for s in GRAMMAR if s.theme in themes or s.theme == "lists"]

    def statement(self) -> str | None:
        """Return a statement, or None if the one that came up needs what is not there."""
        chosen = self.random.choice(self.choices)
        if (_OWN & set(re.findall(r"\w+", chosen.text))) - self.defined - {chosen.defines}:
            return None
        taken: dict[str, str] = {}
        for _, slot, _, _ in string.Formatter().parse(chosen.text):
            if slot is not None and slot not in ("n", "new"):
                found = [n for n, kind in self.kinds.items() if kind == slot.rstrip("12")]
                if not found:
                    return None
                taken.setdefault(slot, self.random.choice(found))
        if chosen.makes:
            taken["new"] = self.random.choice(NAMES)
        text = _Numbers(self.random).vformat(chosen.text, (), taken)
        if chosen.makes:
            self.kinds[taken["new"]] = chosen.makes
        if chosen.defines:
            self.defined.add(chosen.defines)
        return text

    def cell(self) -> str:
        lines: list[str] = []
        wanted = self.random.choice((1, 1, 1, 2, 2, 3))
        while len(lines) < wanted:
            line = self.statement()
            if line is not None:
                lines.append(line)
        if self.random.random() < 0.5:
            lines.append(self.show(1))
        return "\n".join(lines)

    def show(self, count: int) -> str:
        shown = [n for n in self.kinds if self.kinds[n] in _SHOWN]
        picked = self.random.sample(shown, min(count, len(shown)))
        return f"print({', '.join(_SHOWN[self.kinds[n]].format(n) for n in sorted(picked))})"


def cells(seed: int, length: int = 16) -> tuple[str, ...]:
    """Return the cells of notebook number `seed`: a first one with imports, up to `length` at random, a last one that prints.

    A cell may raise; who runs the notebook leaves out those that do.
    """
    writer = _Writer(seed)
    middle = [writer.cell() for _ in range(writer.random.randrange(5, length))]
    return (START, *middle, writer.show(9))
