# %% [markdown]
# # What is hitting our API?
# %%
import re, sys, os, sqlite3, logging, itertools, datetime as dt
from collections import Counter, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import List
# %%
logging.basicConfig(level=logging.INFO, format="%(levelname)s:%(message)s", stream=sys.stdout)
log = logging.getLogger("weblogs")
log.info("hello")
# %%
%%bash
ls data/logs
head -n 1 data/logs/access.0.log
# %%
PAT = re.compile(r'(?P<ip>[\d.]+) - - \[(?P<when>[^\]]+)\] "(?P<verb>\w+) (?P<path>\S+) [^"]+" (?P<code>\d+) (?P<size>\d+)')
@dataclass
class Hit:
    ip: str
    when: dt.datetime
    verb: str
    path: str
    code: int
    size: int
    tags: List[str] = field(default_factory=list)
    @property
    def ok(self):
        return self.code < 400
# %%
bad_lines = 0
def parse(fn):
    global bad_lines
    for line in open(fn):
        m = PAT.match(line)
        if not m:
            bad_lines += 1
            log.warning("cannot parse %r", line)
            continue
        d = m.groupdict()
        yield Hit(d["ip"], dt.datetime.strptime(d["when"], "%d/%b/%Y:%H:%M:%S"), d["verb"], d["path"], int(d["code"]), int(d["size"]))
# %%
hits = []
for fn in sorted(os.listdir("data/logs")):
    if not fn.endswith(".log"): continue
    hits.extend(parse(os.path.join("data/logs", fn)))
print(len(hits), bad_lines)
# %%
hits[0]
# %%
codes = Counter(h.code for h in hits)
codes.most_common()
# %%
class Report:
    "collects things"
    sections = []
    def __init__(self, title): self.title = title; Report.sections.append(title)
    def line(self, *a): print(f"[{self.title}]", *a)
# %%
r = Report("errors"); r.line(sum(not h.ok for h in hits))
# %%
by_hour = defaultdict(int)
for h in hits:
    by_hour[h.when.hour] += 1
max(by_hour.items(), key=lambda kv: kv[1])
# %%
words = Counter()
for h in hits:
    words.update(w for w in re.split(r"\W+", h.path.lower()) if w and not w.isdigit())
words
# %%
for h in hits:
    if h.size > 8000: h.tags.append("big")
    if h.code == 500: h.tags.append("err")
Counter(t for h in hits for t in h.tags)
# %%
sessions = defaultdict(list)
for h in hits: sessions[h.ip].append(h)
gaps = []
for ip, hs in sessions.items():
    hs.sort(key=lambda h: h.when)
    gaps += [(b.when - a.when).total_seconds() for a, b in zip(hs, hs[1:])]
sum(gaps) / len(gaps)
# %%
con = sqlite3.connect("data/web.db")
con.execute("drop table if exists hits")
con.execute("create table hits (ip text, t text, verb text, path text, code int, size int)")
con.executemany("insert into hits values (?,?,?,?,?,?)", [(h.ip, h.when.isoformat(), h.verb, h.path, h.code, h.size) for h in hits])
con.commit()
# %%
con.execute("select verb, count(*), avg(size) from hits group by verb order by 1").fetchall()
# %%
import pandas as pd
df = pd.read_sql("select * from hits", con, parse_dates=["t"])
df.groupby("code")["size"].describe().round(1)
# %%
top = df.path.value_counts().head(5); top
# %% tags=["raises-exception"]
df["nope"]
# %%
con.close()
# %%
try:
    con.execute("select 1")
except sqlite3.ProgrammingError as e:
    print("closed:", e)
# %%
def lev(a, b):
    prev = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        cur = [i]
        for j, y in enumerate(b, 1):
            cur.append(min(prev[j] + 1, cur[-1] + 1, prev[j - 1] + (x != y)))
        prev = cur
    return prev[-1]
paths = sorted(set(h.path for h in hits))[:70]
close = [(p, q) for p, q in itertools.combinations(paths, 2) if lev(p, q) == 1]
len(close)
# %%
ipnum = lambda ip: sum(int(x) << 8 * i for i, x in enumerate(reversed(ip.split("."))))
nets = Counter(ipnum(h.ip) >> 8 for h in hits)
nets.most_common(2)
# %%
codes[200] / sum(codes.values())
# %%
Report.sections
# %%
class Report(Report):
    def table(self, c): 
        for k, v in sorted(c.items()): self.line(k, v)
Report("codes").table(codes)
# %%
!rm -f data/web.db
print(os.path.exists("data/web.db"))
