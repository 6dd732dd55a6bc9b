"""A certificate in sentences and tables, from which the page and the PDF are drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hamu_ray.certificate import words
from hamu_ray.certificate.document import measures_shown
from hamu_ray.results.outcome import NO_REFERENCE
from hamu_ray.results.wording import NONE, duration
from hamu_ray.results.wording import words as spaced


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the row."""

    head: tuple[str, ...]
    """Empty for a table of names and values."""
    rows: tuple[tuple[str, ...], ...]
    codes: bool = False
    """Whether the last column contains hashes."""


@dataclass(frozen=True)
class Section:
    """A part of a certificate."""

    title: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    items: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """A whole certificate in words."""

    title: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...]


def statement_of(certificate: Mapping[str, Any], fingerprint: str | None) -> Statement:
    """Return a certificate in words; ``fingerprint`` is that of the key that signs it, None if nobody does."""
    return Statement(
        "Certificate of unlearning",
        tuple(_summary(certificate, fingerprint)),
        (
            Section("What was asked", (certificate["asked"],)),
            _removed(certificate),
            _models(certificate),
            _judged(certificate),
            _attacks(certificate),
            Section(
                "Limits of this case",
                () if certificate["limits"] else ("None were found.",),
                items=tuple(certificate["limits"]),
            ),
            Section("What this does not show", items=tuple(certificate["not_shown"])),
            _code(certificate),
            _checking(certificate, fingerprint),
        ),
    )


def _summary(certificate: Mapping[str, Any], fingerprint: str | None) -> Iterator[str]:
    ended = certificate["unlearning"]
    noun = words.NOUNS.get(certificate["task"], "example")
    count = certificate["removed"]["count"]
    changed = "changed further, after earlier unlearning," if _start(certificate) else "changed"
    yield (
        f"A model was {changed} by the method {ended['method']} to remove the influence of {count:,} training "
        f"{noun}{'' if count == 1 else 's'}, in {ended['steps']:,} steps ({duration(ended['seconds'])}). "
        f"Status: {ended['status']} ({ended['reason']})."
    )
    if (seconds := ended.get("retraining_seconds")) is not None:
        yield f"Training a model without these data, for comparison, took {duration(seconds)}."
    measures = certificate["measures"]
    after, before = (measures.get(name, {}).get("forget_quality") for name in ("unlearned", "original"))
    if after is not None:
        other = "one that never saw the data"
        if certificate["reference"]["kind"] in NO_REFERENCE:
            other = "what stands here for one that never saw the data"
        was = f", {_cell(before)} before" if before is not None else ""
        verdict = (
            " This is NOT the behaviour of a model that never saw the data." if after < words.LOW else ""
        )
        yield (
            f"Resemblance to {other}: {_cell(after)} on a scale from 0 (told apart at once) to 1 (not told "
            f"apart){was}.{verdict}"
        )
    signed = (
        f"Signed with the key {fingerprint}."
        if fingerprint
        else "NOT SIGNED: anybody could have written this."
    )
    yield f"Made on {certificate['made'][:10]} at {certificate['made'][11:16]} UTC. {signed}"


def _removed(certificate: Mapping[str, Any]) -> Section:
    removed = certificate["removed"]
    more = removed["count"] - len(removed["first"])
    rows = [tuple(line.rsplit(",", 1)) for line in removed["first"]]
    if more > 0:
        rows.append((f"and {more:,} more", f"in {removed['list']}"))
    return Section(
        "What was to be removed",
        (
            f"{removed['count']:,} examples. The file {removed['list']} lists each by its place in the data and by a "
            "fingerprint (hash) of its content, so that anyone who has an example can check whether it is on the list; "
            "the content itself is not repeated here.",
            f"SHA-256 of {removed['list']}: {removed['list_sha256']}",
        ),
        Table(
            ("example", "SHA-256 of its content"), tuple((first, last) for first, last in rows), codes=True
        ),
    )


def _models(certificate: Mapping[str, Any]) -> Section:
    known = certificate["provenance"]
    rows = [("Original: the model before, trained on all data", known["original"]["sha256"])]
    if start := _start(certificate):
        rows.append(("Start: the model of an earlier run, which this one changed", start["sha256"]))
    rows += [(f"Unlearned: {name}", content) for name, content in known["files"].items()]
    for number, reference in enumerate(known["references"], 1):
        which = f" {number} of {len(known['references'])}" if len(known["references"]) > 1 else ""
        rows.append((f"Reference{which}, for comparison", reference["sha256"]))
    sentences = ["A hash is a fingerprint of a file: one changed bit gives another hash."]
    if line := known.get("interpolation"):
        rows += [
            (f"Mixed from: model {number} of 2", end["sha256"]) for number, end in enumerate(line["ends"], 1)
        ]
        sentences.append(
            "Each weight of the unlearned model lies between those of two models, "
            f"{line['at']:.2%} of the way from the first to the second; no further training followed."
        )
    return Section(
        "From which model to which",
        tuple(sentences),
        Table(("model", "SHA-256"), tuple(rows), codes=True),
    )


def _start(certificate: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the model of an earlier run at which unlearning started; None if that was the original."""
    return certificate["provenance"].get("start")


def _judged(certificate: Mapping[str, Any]) -> Section:
    measures = certificate["measures"]
    stands_in = certificate["reference"]["kind"] in NO_REFERENCE
    columns = {"original": "before", "unlearned": "after"}
    if "reference" in measures:
        columns["reference"] = (
            "what stands for a model without the data" if stands_in else "model without the data"
        )
    rows = tuple(
        (words.MEASURES[name], *(_cell(measures[model].get(name)) for model in columns if model in measures))
        for name in measures_shown(certificate)
    )
    sentences = [
        "The best possible result is a model that behaves as if it had never seen the removed data and has otherwise "
        "lost nothing. Numbers are rounded; the JSON file has all digits, and further measures.",
        words.STANDS_FOR.get(certificate["reference"]["kind"], "") or certificate["reference"]["origin"],
    ]
    head = ("measure", *(title for model, title in columns.items() if model in measures))
    return Section("How it was judged", tuple(sentences), Table(head, rows) if rows else None)


def _attacks(certificate: Mapping[str, Any]) -> Section:
    findings = words.findings_of(certificate)
    if not findings:
        return Section("Attacks", ("None were run.",))
    rows = tuple(
        (
            words.ATTACKS.get(found["metric"], spaced(found["metric"])),
            _cell(found["original"]),
            _cell(found["value"]),
            _range(found["references"]),
            words.VERDICTS[found["passes"]],
        )
        for found in findings
    )
    return Section(
        "Attacks",
        (
            "Attempts to tell that the data once were there, or to bring them back, compared with the same on models "
            "without the data. Where there are several of those, the range is where another one is expected (95 %).",
            *words.lasting(certificate["attacks"]),
        ),
        Table(("attack", "before", "after", "models without the data", "after is"), rows),
    )


def _range(spread: Mapping[str, Any]) -> str:
    mean, low, high = (spread[name] for name in ("mean", "low", "high"))
    return _cell(mean) if low is None or high is None else f"{_cell(low)} to {_cell(high)}"


def _code(certificate: Mapping[str, Any]) -> Section:
    known = certificate["provenance"]
    code = known["code"]
    commit = code["commit"] or "not known"
    rows = (
        ("hamu_ray", code["version"] or "not installed as a package"),
        ("commit", f"{commit}{' with uncommitted changes' if code['dirty'] else ''}"),
        ("source code (SHA-256)", code["sha256"]),
        *((f"{one['name']} (SHA-256)", _plugin(one)) for one in known.get("plugins", [])),
        ("data (SHA-256)", known["data"]),
        ("hardware", known["hardware"]),
        ("system", known["platform"]),
        ("seeds", ", ".join(f"{name} {seed}" for name, seed in known["seeds"].items())),
        ("libraries", ", ".join(f"{name} {version}" for name, version in known["libraries"].items())),
    )
    return Section("With which code", table=Table((), rows))


def _plugin(plugin: Mapping[str, Any]) -> str:
    return f"{plugin['sha256']}, of {plugin['distribution'] or 'no installed package'}"


def _checking(certificate: Mapping[str, Any], fingerprint: str | None) -> Section:
    command = "python -m hamu_ray.certify --verify certificate.json --model FOLDER"
    signed = (
        f"It is signed (Ed25519) with the key whose fingerprint is {fingerprint}. Ask the signer for the fingerprint "
        "in another way, such as by telephone: a signature proves who signed only to those who know the key."
        if fingerprint
        else "It is not signed: it shows what the files say, but not who vouches for it."
    )
    return Section(
        "How to check it",
        (
            signed,
            "certificate.json is what is signed; this page and its PDF show it in words, and it contains their hashes. "
            "The command below answers true or false, with the reason.",
        ),
        commands=(f"{command} --public-key SIGNER.pub.pem" if fingerprint else command,),
    )


def _cell(value: float | None) -> str:
    return NONE if value is None else f"{value:z.2f}"  # no negative zero
