"""Ordinary operations that a notebook did not exercise: run by an image's own Python, inside a container.

Prints one JSON object: name of the operation -> "ok", or the error.
"""

import json
import sys
import textwrap
import traceback

PROBES = """
user: import os, getpass, pathlib; assert (os.getuid(), getpass.getuser()) == (1000, 'j2k'); assert str(pathlib.Path.home()) == '/home/j2k'
root is read-only: import os; assert not os.access('/', os.W_OK) and not os.access('/opt/j2k', os.W_OK)
no network: import socket; s = socket.socket(); s.settimeout(2); assert s.connect_ex(('192.0.2.1', 80)) != 0
writable tmp: import tempfile; tempfile.TemporaryFile().write(b'x')
writable home: import pathlib; (pathlib.Path.home() / 'x').write_text('x')
time zone: import zoneinfo, datetime; assert datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset().seconds == 7200
all time zones: import zoneinfo; assert len(zoneinfo.available_timezones()) > 500
pandas time zone: import pandas as pd; assert str(pd.Timestamp('2024-01-01', tz='America/New_York').tz_convert('Asia/Tokyo')) == '2024-01-01 14:00:00+09:00'
IDNA: assert 'bücher.example'.encode('idna') == b'xn--bcher-kva.example'
codecs: assert b'\\x80'.decode('cp1252') == '€' and 'ü'.encode('latin-1') and '日'.encode('shift_jis') and '中'.encode('gb18030')
CA certificates: import ssl; assert len(ssl.create_default_context().get_ca_certs()) > 100
hashes: import hashlib; assert {'sha256', 'blake2b', 'sha3_256', 'md5'} <= hashlib.algorithms_available; hashlib.new('ripemd160') if 'ripemd160' in hashlib.algorithms_available else None
sqlite: import sqlite3; c = sqlite3.connect(':memory:'); c.execute('create table t (x)'); c.execute('insert into t values (1)'); assert c.execute('select sum(x) from t').fetchone() == (1,)
sqlite file: import sqlite3; sqlite3.connect('/tmp/a.db').execute('create table t (x)')
compression: import gzip, bz2, lzma, zlib; assert all(m.decompress(m.compress(b'a' * 99)) == b'a' * 99 for m in (gzip, bz2, lzma, zlib))
spawned processes: import subprocess, sys; open('/tmp/s.py', 'w').write('import multiprocessing as m\\ndef f(x): return x * x\\nif __name__ == "__main__":\\n    with m.get_context("spawn").Pool(2) as p: assert p.map(f, range(5)) == [0, 1, 4, 9, 16]\\n'); subprocess.run([sys.executable, '/tmp/s.py'], check=True, timeout=60)
process pool: import concurrent.futures as f; assert list(f.ProcessPoolExecutor(2).map(abs, [-1, 2])) == [1, 2]
shared memory: from multiprocessing import shared_memory as s; m = s.SharedMemory(create=True, size=10); m.close(); m.unlink()
joblib workers: import joblib, math; assert joblib.Parallel(2)(joblib.delayed(math.sqrt)(i) for i in (4, 9)) == [2, 3]
importlib.metadata: import importlib.metadata as m; assert m.version('pandas') and m.requires('pandas') and m.files('numpy') and len(list(m.distributions())) > 20
metadata of every distribution: import importlib.metadata as m; bad = [f for d in m.distributions() for f in (d.files or ()) if not f.locate().exists()]; assert not bad, bad[:5]
entry points: import importlib.metadata as m; assert list(m.entry_points(group='console_scripts'))
importlib.resources: import importlib.resources as r; assert (r.files('matplotlib') / 'mpl-data' / 'matplotlibrc').is_file()
another part of scikit-learn: from sklearn.ensemble import GradientBoostingClassifier as G; from sklearn.datasets import load_iris; X, y = load_iris(return_X_y=True); assert G(n_estimators=5).fit(X, y).score(X, y) > 0.9
OpenMP: from sklearn.ensemble import HistGradientBoostingClassifier as G; from sklearn.datasets import make_classification as m; X, y = m(200); G(max_iter=3).fit(X, y)
nearest neighbours: from sklearn.neighbors import KDTree; import numpy as np; assert KDTree(np.eye(3)).query(np.eye(3), k=1)[1].ravel().tolist() == [0, 1, 2]
scipy: import scipy.optimize, scipy.signal, scipy.sparse.linalg, scipy.stats, scipy.integrate; assert abs(scipy.optimize.brentq(lambda x: x - 1, 0, 3) - 1) < 1e-9
linear algebra: import numpy as np; a = np.random.default_rng(0).normal(size=(50, 50)); assert np.allclose(np.linalg.inv(a) @ a, np.eye(50))
matplotlib formats: import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as plt, io; f, a = plt.subplots(); a.set_title('äß $x^2$'); [f.savefig(io.BytesIO(), format=k) for k in ('png', 'svg', 'pdf', 'jpg')]
matplotlib styles and fonts: import matplotlib.style as s, matplotlib.font_manager as m; assert len(s.available) > 10 and m.findfont('DejaVu Sans')
pillow: import PIL.Image, io; i = PIL.Image.new('RGB', (9, 9)); [i.save(io.BytesIO(), k) for k in ('PNG', 'JPEG', 'WEBP', 'TIFF', 'GIF')]
pandas html: import pandas as pd; assert '<table' in pd.DataFrame({'a': [1]}).to_html()
pandas text: import pandas as pd, io; assert pd.read_csv(io.StringIO('a;b\\n1,5;2'), sep=';', decimal=',').a[0] == 1.5
locale: import locale; locale.setlocale(locale.LC_ALL, 'C.UTF-8'); assert locale.getpreferredencoding().upper() == 'UTF-8'
encoding: import sys; assert sys.stdout.encoding.lower() == 'utf-8' and sys.getfilesystemencoding() == 'utf-8'
shell: import subprocess as s; assert s.run('echo a b | tr a-z A-Z | sed s/A/x/ | grep -c B; ls / | wc -l; date; uname -m; which sh', shell=True, check=True, capture_output=True).stdout.startswith(b'1')
bash and awk: import subprocess as s; assert s.check_output(['bash', '-c', "echo {1..3} | awk '{print $2}'"]) == b'2\\n'
gzip and tar: import subprocess as s; s.run('cd /tmp && echo x > g && tar czf g.tgz g && tar tzf g.tgz && sha256sum g', shell=True, check=True, capture_output=True)
/dev/shm: open('/dev/shm/x', 'w').write('x')
ctypes.util: import ctypes, ctypes.util as u; assert u.find_library('c') == 'libc.so.6' and u.find_library('m') and u.find_library('ssl'); ctypes.CDLL(u.find_library('z'))
dlopen by name: import ctypes; [ctypes.CDLL(n) for n in ('libgcc_s.so.1', 'libstdc++.so.6', 'libgomp.so.1', 'libresolv.so.2')]
names of services: import socket; assert socket.getservbyname('https') == 443 and socket.gethostbyname('localhost') == '127.0.0.1'
media types: import mimetypes; assert mimetypes.guess_type('a.svg')[0] == 'image/svg+xml' and mimetypes.guess_type('a.json')[0]
standard library: import asyncio, curses, readline, ctypes, xml.etree.ElementTree, xml.dom.minidom, unittest.mock, email.mime.text, http.server, urllib.request, decimal, uuid, venv, pdb, cProfile, tomllib, dbm, zoneinfo, statistics, difflib, multiprocessing.managers
XML: import xml.etree.ElementTree as e; assert e.fromstring('<a b="ü"/>').get('b') == 'ü'
asyncio subprocess: import asyncio; p = asyncio.run(asyncio.wait_for(__import__('asyncio').create_subprocess_exec('true'), 9))
uuid: import uuid; assert uuid.uuid1() and uuid.uuid4()
pickle of everything: import pickle, pandas as pd, numpy as np; assert pickle.loads(pickle.dumps(pd.DataFrame({'a': np.arange(3)}), 5)).a.sum() == 3
kernelspec: from jupyter_client.kernelspec import KernelSpecManager as K; assert K().get_kernel_spec('python3').argv
scripts of packages: import subprocess as s; assert s.run(['fonttools', '--help'], capture_output=True).returncode == 0
module beside the notebook: import helper; assert helper.line(1) == 1
bytecode is used: import os, pandas, json.decoder, importlib.util as u; assert all(os.path.exists(u.cache_from_source(m.__file__)) for m in (os, pandas, json.decoder))
no traces of the builder: import pandas, json; assert pandas.DataFrame.__init__.__code__.co_filename.startswith('/opt/j2k/')
no writable library: import os, numpy; assert not os.access(os.path.dirname(numpy.__file__), os.W_OK)
"""


def main():
    found = {}
    for line in textwrap.dedent(PROBES).strip().splitlines():
        name, _, code = line.partition(": ")
        try:
            exec(compile(code, name, "exec"), {"__name__": "__probe__"})
            found[name] = "ok"
        except BaseException:
            found[name] = traceback.format_exc(limit=-2)[-400:]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
