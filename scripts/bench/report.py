"""Turns results into the table that people read."""

import orchestrator as load
import sync
import vault
from measures import BARE, METRICS, higher_is_better

# What a first version must reach, by the design: (metric, latency, peer, ratio, at least?)
GOALS = [
    ("ls_cold", 0, "bare", 1.5, "`ls -lR` cold ≤ 1.5 × the plain LIST"),
    ("ls_deep_cold", 0, "bare", 1.5, "`ls -lR` cold of 5,000 directories ≤ 1.5 × the plain LIST"),
    ("read_warm", 0, "ext4", 0.9, "warm sequential read ≥ 0.9 × ext4"),
    ("rand_warm", 0, "ext4", 0.9, "warm 4k reads ≥ 0.9 × ext4"),
    ("create", 0, "rclone", 3.0, "create ≥ 3 × rclone"),
    ("grep_cold", 0, "bare", 1.3, "cold grep ≤ 1.3 × the bare client"),
    ("grep_cold", 20, "bare", 2.0, "cold grep with 20 ms ≤ 2 × the bare client"),
]
LIMITS = [
    ("rename_dir", 0, 0.05, "rename of a directory visible in < 50 ms"),
    ("ready", 0, 0.3, "ready in < 0.3 s"),
    ("memory_100k", 0, 200, "memory ≤ 200 MiB with 100,000 files known"),
]


# (place of the keys, milliseconds of processor time, goal)
WAITS = [
    ("cache file", 5, "keys from the cache file in ≤ 5 ms of process time"),
    ("system keyring", 15, "keys from the system keyring in ≤ 15 ms of process time"),
]


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def markdown(document):
    lines = [
        "# Benchmarks", "",
        "Measured by `make bench`; read the figures as ratios. Each cell is the median of the rounds",
        "with (min–max), and in the columns of the others the ratio of ours to theirs: above 1 we are",
        "better, below 1 they are. A figure without a spread was taken in one round.", "",
    ]
    lines += [f"- {name}: {value}" for name, value in document["about"].items()]
    for peer, reason in sorted(document["absent"].items()):
        lines.append(f"- absent: {peer}: {reason}")
    for latency in document["latencies"]:
        where = "no latency added" if latency == 0 else f"{latency} ms added to every request"
        lines += ["", f"## With {where}", ""] + _table(document, latency)
    if document.get("keys"):
        lines += ["", "## How long a tool waits for its keys", ""] + _waits(document["keys"])
    lines += ["", "## What was to be reached", ""] + _goals(document)
    lines += ["", "The bare client is, by measure: " + "; ".join(f"{m}: {t}" for m, t in BARE.items()) + ".", ""]
    if document["failures"]:
        lines += ["## What failed or ran out of time", ""]
        lines += [f"- {line}" for line in document["failures"]]
        lines.append("")
    return "\n".join(lines)


class Section:
    """A report of its own within the page: its heading, its words, its figures."""

    def __init__(self, heading, about, measures):
        self.heading, self.about, self.measures = heading, about, measures

    def text(self, document):
        """The section, whole."""
        lines = [self.heading, "", *self.about.splitlines(), ""]
        lines += [f"- {name}: {value}" for name, value in document["about"].items()]
        lines += ["", "| measure | unit | figure | goal | reached |", "|---|---|---|---|---|"]
        for metric, (title, unit, higher, goal) in self.measures.METRICS.items():
            values = document["figures"].get(metric)
            figure, reached = "not measured", "–"
            if values:
                figure = _spread(values)
                if goal is not None:
                    enough = median(values) >= goal if higher else median(values) <= goal
                    reached = "yes" if enough else "no"
            bound = "–" if goal is None else f"{'≥' if higher else '≤'} {goal:,}"
            lines.append(f"| {title} | {unit} | {figure} | {bound} | {reached} |")
        lines += ["", self.measures.closing_words(document["figures"])]
        if document["failures"]:
            lines += ["", "What failed:", ""] + [f"- {line}" for line in document["failures"]]
        return "\n".join(lines) + "\n"

    def of(self, page):
        """That section of a page; nothing where it has none."""
        if self.heading not in page:
            return ""
        rest = page.partition(self.heading)[2]
        ends = [rest.index(other.heading) for other in SECTIONS if other.heading in rest]
        return self.heading + rest[:min(ends, default=len(rest))].rstrip("\n") + "\n"

    def put(self, page, text):
        """A page with that section in place of the one that it has."""
        found = {other: other.of(page) for other in SECTIONS}
        return _whole(page, {**found, self: text})


class Beside(Section):
    """A section with a column for each peer, by latency, as the tables of the mounts have."""

    def text(self, document):
        """The section, whole."""
        sizes = document["sizes"]
        lines = [self.heading, "", *self.about.splitlines(), ""]
        lines += [f"- {name}: {value}" for name, value in document["about"].items()]
        lines += [f"- absent: {peer}: {reason}" for peer, reason in sorted(document["absent"].items())]
        metrics = {name: (title.format(**sizes), unit) for name, (title, unit) in self.measures.METRICS.items()}
        for latency in document["latencies"]:
            where = "no latency added" if latency == 0 else f"{latency} ms added to every request"
            lines += ["", f"With {where}:", ""] + _table(document, latency, metrics)
        lines += ["", "| goal | measured | reached |", "|---|---|---|", *self._reached(document, sizes)]
        if document["failures"]:
            lines += ["", "What failed:", ""] + [f"- {line}" for line in document["failures"]]
        return "\n".join(lines) + "\n"

    def _reached(self, document, sizes):
        for metric, latency, peer, ratio, words in self.measures.GOALS:
            results = document["results"].get(str(latency), {})
            ours, theirs = (results.get(name, {}).get(metric) for name in ("artifacts", peer))
            if ours and theirs:
                found = median(theirs) / max(median(ours), 1e-9)
                yield f"| {words.format(**sizes)} | {found:.1f} × | {'yes' if found >= ratio else 'no'} |"
            else:
                yield f"| {words.format(**sizes)} | not measured | – |"
        for metric, latency, most, words in self.measures.LIMITS:
            ours = document["results"].get(str(latency), {}).get("artifacts", {}).get(metric)
            if ours:
                value, unit = median(ours), self.measures.METRICS[metric][1]
                reached = "yes" if value <= most(sizes) else "no"
                yield f"| {words.format(**sizes)} | {_number(value)} {unit} | {reached} |"
            else:
                yield f"| {words.format(**sizes)} | not measured | – |"


ORCHESTRATOR = Section("## The orchestrator under load", """One server, PostgreSQL (every answered change is on the disk), the embedded store, and the
load itself share the machine, on loopback. `wrk` sends the next request when the last was answered, so
its figures are those of a server that is busy to its limit. Each figure is the median of the rounds
with (min–max).
""", load)

VAULT = Section("## The vault under load", """Broker, signer, worker, the embedded store and the load itself share the machine, on loopback;
between the servers there is mTLS, to the worker TLS, and every request is in the audit. 16 clients, each a
device with a key of its own, send the next request when the last was answered, each with a fresh proof, and
look at what comes. The raw figures are the same objects put and got at the same store by the same S3 client,
without a worker. Each figure is the median of the rounds with (min–max).
""", vault)

SYNC = Beside("## Two-way sync", """A folder and a bucket kept alike, beside `rclone bisync` on the same SeaweedFS, and beside unison, which
knows no object store: it keeps two folders of this machine alike, so its figures are those of a local side. Each
figure is of a whole process, from its start to its end: the median of the rounds with (min–max), and in the
columns of the others the ratio of theirs to ours: above 1 we are better. All files are an hour old. `--watch` is
measured on two folders of 1,000 files with an orchestrator and the embedded store; `rclone bisync` has no such
mode. After each first sync and rename the objects are counted, and what a second machine fetched is compared.
""", sync)

SECTIONS = [ORCHESTRATOR, VAULT, SYNC]


def with_sections_of(text, page):
    """A new page with the sections that an older one has."""
    return _whole(text, {section: section.of(page) for section in SECTIONS})


def _whole(page, sections):
    heads = [page.index(section.heading) for section in SECTIONS if section.heading in page]
    parts = [page[:min(heads, default=len(page))].rstrip("\n") + "\n"]
    parts += [sections[section] for section in SECTIONS if sections[section]]
    return "\n".join(parts)


def _waits(found):
    lines = [
        "`artifacts credential-process` with the keys in each place, in milliseconds for the whole process.", "",
        "| keys in | processor (min–max) | wall | wall, 90th percentile |", "|---|---|---|---|",
    ]
    for name, ms in found.items():
        cpu = f"{_number(ms['cpu'])} ({_number(ms['cpu_min'])}–{_number(ms['cpu_max'])})"
        lines.append(f"| {name} | {cpu} | {_number(ms['wall'])} | {_number(ms['wall_90'])} |")
    return lines


def _table(document, latency, metrics=METRICS):
    results = document["results"][str(latency)]
    peers = [p for p in document["peers"] if p in results]
    lines = ["| measure | unit | " + " | ".join(peers) + " |", "|---|---|" + "---|" * len(peers)]
    for metric, (title, unit) in metrics.items():
        if any(results[p].get(metric) for p in peers):
            cells = [_cell(results, peer, metric) for peer in peers]
            lines.append(f"| {title} | {unit} | " + " | ".join(cells) + " |")
    return lines


def _cell(results, peer, metric):
    values = results[peer].get(metric)
    if not values:
        return "–"
    text = _spread(values)
    ours = results.get("artifacts", {}).get(metric)
    if ours and peer != "artifacts":
        text += f" ×{_advantage(metric, median(ours), median(values)):.2g}"
    return text


def _spread(values):
    text = _number(median(values))
    if len(values) > 1:
        text += f" ({_number(min(values))}–{_number(max(values))})"
    return text


def _advantage(metric, ours, theirs):
    if higher_is_better(metric):
        return ours / max(theirs, 1e-9)
    return theirs / max(ours, 1e-9)


def _goals(document):
    lines = ["| goal | measured | reached |", "|---|---|---|"]
    for metric, latency, peer, bound, text in GOALS:
        results = document["results"].get(str(latency), {})
        ours, theirs = (results.get(p, {}).get(metric) for p in ("artifacts", peer))
        if ours and theirs:
            ratio = median(ours) / max(median(theirs), 1e-9)
            reached = ratio >= bound if higher_is_better(metric) else ratio <= bound
            lines.append(f"| {text} | {ratio:.2f} × | {'yes' if reached else 'no'} |")
        else:
            lines.append(f"| {text} | not measured | – |")
    for metric, latency, bound, text in LIMITS:
        ours = document["results"].get(str(latency), {}).get("artifacts", {}).get(metric)
        if ours:
            value = median(ours)
            lines.append(f"| {text} | {_number(value)} {METRICS[metric][1]} | {'yes' if value <= bound else 'no'} |")
        else:
            lines.append(f"| {text} | not measured | – |")
    for place, bound, text in WAITS:
        ms = document.get("keys", {}).get(place)
        if ms:
            lines.append(f"| {text} | {_number(ms['cpu'])} ms | {'yes' if ms['cpu'] <= bound else 'no'} |")
        else:
            lines.append(f"| {text} | not measured | – |")
    return lines


def _number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
