"""Plain words for requests, metrics and limits, for readers who are not engineers."""

from collections.abc import Iterator, Mapping
from typing import Any

from hamu_ray.results.audit.finding import audit_of
from hamu_ray.results.outcome import NO_REFERENCE

NOUNS = {"vision": "image", "language": "text", "custom": "example"}
"""What an example of each task is."""

MEASURES: Mapping[str, str] = {
    "forget_quality": "How much the model resembles one that never saw the removed data (0 to 1, 1 is best)",
    "forget_quality_ceiling": "The same for another model that never saw the data: what 1 comes to in practice",
    "retain_utility": "Skill on data that nobody trained on (0 to 1, higher is better)",
    "forget_accuracy": "Share of the removed data that it still gets right (best near the model without the data)",
    "retain_accuracy": "Share of the kept training data that it gets right (higher is better)",
    "test_accuracy": "Share of new data that it gets right (higher is better)",
    "test_forgotten_class_accuracy": "Share of new data of the removed class that it gets right",
    "mia_confidence": "Share of the removed data that a test for training data takes for never seen (best near "
    "the model without the data)",
    "auc_loss_forget_test": "How well an attacker tells the removed data from new data (0.5: by chance alone)",
    "avg_gap": "Average difference from the model without the data over four of these measures (0 is best)",
    "forget_prob": "Probability that the model gives to the removed answers (best near the model without the data)",
    "retain_prob": "Probability that it gives to the kept answers (higher is better)",
    "test_prob": "Probability that it gives to answers that nobody trained on (higher is better)",
    "forget_rouge": "Share of the words of the removed answers that it writes itself when asked",
    "forget_extraction_strength": "Average part of a removed answer's end that it completes without an error",
    "model_utility": "Skill on kept authors, real authors and world facts (0 to 1, higher is better)",
    "auc_mink_10_forget_test": "How well an attacker with a stronger test tells the removed texts from new ones "
    "(0.5: by chance alone)",
    "privleak": "Leak compared with the model without the data (0: none)",
    "forget_loss": "Average error on the removed data (best near the model without the data)",
    "test_loss": "Average error on new data (lower is better)",
}
"""The metrics that a certificate's page explains, in the page's order; its JSON has all."""

ATTACKS: Mapping[str, str] = {
    "lira_auc": "How well an attack (LiRA) tells the removed data from new data (0.5: by chance alone)",
    "lira_tpr_at_1_fpr": "Share of the removed data that it finds with at most 1 % false alarms",
    "lira_online_auc": "How well it tells the model from models without the data (0.5: by chance alone)",
    "lira_online_tpr_at_1_fpr": "Share of the removed data by which it does, with at most 1 % false alarms",
    "ulira_auc": "How well an attack that knows the unlearning (U-LiRA) tells the model from models without the data "
    "(0.5: by chance alone)",
    "ulira_tpr_at_1_fpr": "Share of the removed data by which it does, with at most 1 % false alarms",
    "rmia_auc": "How well another attack (RMIA) tells the removed data from new data (0.5: by chance alone)",
    "rmia_tpr_at_1_fpr": "Share of the removed data that it finds with at most 1 % false alarms",
    "klom_p95": "Distance from models without the data on the worst twentieth of the removed data (0 is best)",
    "relative_test_p": "Probability of so large a distance for one more model without the data",
    "relative_test_smallest_p": "The smallest such probability that this number of models can show",
    "relearning_area": "Knowledge that brief further training brings back (0: none, 1: half of what was known)",
    "relearning_steps": "Steps of further training until half of what was known is back",
    "forget_confidence": "Probability that the model gives to the removed data",
    "forget_confidence_8_bit": "The same after its numbers were rounded to 8 bits",
    "forget_confidence_4_bit": "The same after its numbers were rounded to 4 bits",
    "quantisation_gain_8_bit": "What rounding to 8 bits adds to that probability",
    "quantisation_gain_4_bit": "What rounding to 4 bits adds to that probability",
    "paraphrased_question_confidence": "Probability of the removed answers when asked in other words",
    "paraphrased_answer_confidence": "Probability of the removed answers in other words",
    "prefixed_question_confidence": "Probability of the removed answers after a sentence that asks for them",
    "completed_answer_confidence": "Probability of the second half of the removed answers, given the first",
}
"""The numbers of attacks."""

LASTING: Mapping[str, str] = {
    "relearning": "brief further training",
    "quantisation": "rounding the model's numbers",
    "paraphrase": "asking in other words",
    "prefix": "asking with a sentence that demands the answer, or with half of it given",
}
"""The attacks that try to bring knowledge back."""

VERDICTS: Mapping[bool | None, str] = {True: "like them", False: "UNLIKE them", None: "not decided"}
"""How an attack's number compares with those of models without the data."""

STANDS_FOR: Mapping[str, str] = {
    "none": "Nobody trained a model without the removed data. A model that never saw the class is assumed to get "
    "none of it right; all claims rest on that assumption.",
    "held_out": "Nobody trained a model without the removed data. Held-out data of the same kind, which the model "
    "never saw, stand for it in all claims.",
    "base": "Nobody trained a model without the removed data. The pretrained base model stands for it in all "
    "claims; it also never saw the rest of the training data, and may have met the removed data elsewhere.",
}
"""Limits of runs without a reference, by kind."""

DOUBTS: Mapping[str, str] = {
    "assumed": "The model without the data (the reference) was trained from weights that are only assumed to be "
    "free of the removed data.",
    "undeclared": "The model without the data (the reference) was trained from pretrained weights that nobody "
    "declared to be free of the removed data.",
    "shared": "The model without the data (the reference) and the original were trained from the same pretrained "
    "weights; what those already knew of the removed data is not measured.",
    "declared": "That the weights from which the model without the data (the reference) was trained never saw the "
    "removed data is the signer's declaration.",
    "given": "The model without the data (the reference) was given, and not trained by this run; that it never "
    "saw the removed data is the signer's declaration.",
}
"""Limits of references that were not trained from random weights, by kind."""

LOW = 0.5
"""A forget quality below this is a limit of its own: one threshold on the loss gets most of the data right."""

NOT_SHOWN = (
    "That the data are gone from anywhere else: copies, backups, logs, caches and other models are not "
    "covered.",
    "That no attack, known or future, can recover the data: only the measures and attacks listed here "
    "were tried.",
    "That the model is mathematically the same as one trained without the data: it was measured to be "
    "similar.",
    "That information of the same meaning is gone where it stands in data that were kept.",
    "That a legal duty is met: this is a technical record.",
)
"""What no certificate shows."""


def asked(forget: Mapping[str, Any], count: int, task: str, data: str) -> str:
    """Return a sentence on a request to forget: the ``forget`` section of a run, and how many examples "
    "it means."""
    noun = NOUNS.get(task, "example")
    what = f"{count:,} training {noun}" + ("" if count == 1 else "s")
    return f"Remove the influence of {what} of the data set {data} from the model: {_chosen(forget)}."


def _chosen(forget: Mapping[str, Any]) -> str:
    match forget["kind"]:
        case "class":
            exchanged = f", {forget['rho']:.0%} of them replaced by others" if forget.get("rho") else ""
            return f"those of the class {forget['label']}{exchanged}"
        case "random":
            return f"a random {forget['share']:.0%} of the training data, drawn for an experiment"
        case "split":
            return f"the part named {forget['split']}"
        case "indices":
            return f"the rows listed in the file {_name(forget['path'])}"
        case "ids":
            return f"those with an identifier ({forget['column']}) listed in the file {_name(forget['path'])}"
        case "files":
            return f"the files {', '.join(forget['names'])}"
        case "where":
            return " and ".join(_conditions(forget))
    return "the given examples"


def _conditions(forget: Mapping[str, Any]) -> Iterator[str]:
    conditions = [forget] if forget.get("column") else []
    for condition in (*conditions, *forget.get("conditions", ())):
        column = condition["column"]
        if condition.get("equals") is not None:
            yield f"those whose {column} is {condition['equals']!r}"
        elif condition.get("in") is not None:
            yield f"those whose {column} is one of {', '.join(map(repr, condition['in']))}"
        else:
            yield f"those whose {column} matches the pattern {condition['matches']!r}"


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def findings_of(certificate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the findings of all attacks, in order; empty without an audit."""
    attacks = (certificate["attacks"] or {}).get("attacks", {})
    return [
        {"metric": metric, **found}
        for result in attacks.values()
        for metric, found in result["findings"].items()
    ]


def lasting(attacks: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on the attacks that bring knowledge back, or do not, with those that show it; none if that is
    not known."""
    if (durable := attacks["durable"]) is None:
        return
    found = ", ".join(LASTING[name] for name in audit_of(attacks).lasting(passes=durable))
    more = "no more of it comes" if durable else "MORE of it DOES come"
    yield f"Of the attempts to bring knowledge back: {more} back than from models without the data by {found}."


def limits(certificate: Mapping[str, Any]) -> list[str]:
    """Return what weakens the claims of a certificate, in sentences; empty if nothing does."""
    ended, reference = certificate["unlearning"], certificate["reference"]["kind"]
    found = [text for kinds in (STANDS_FOR, DOUBTS) if (text := kinds.get(reference))]
    if ended["status"] == "collapsed":
        found.append(
            "The model COLLAPSED: it lost its skill, and good values of the privacy measures mean nothing."
        )
    elif ended["status"] != "finished":
        found.append(f"Unlearning did not complete: it ended {ended['status']} ({ended['reason']}).")
    if certificate["provenance"].get("start"):
        found.append(
            "Unlearning started at the model of an earlier run: that run's method, its steps, their number outside a "
            "guarantee and its time are not part of this certificate, which has the hash of the model."
        )
    if ended["nothing_to_forget"]:
        found.append(f"There was {ended['nothing_to_forget']}.")
    if ended["steps_outside_guarantee"]:
        found.append(
            f"{ended['steps_outside_guarantee']:,} of {ended['steps']:,} steps were outside the guarantee that the "
            "method gives for its steps."
        )
    resemblance = certificate["measures"]["unlearned"].get("forget_quality")
    if resemblance is None:
        found.append("How much the model resembles one that never saw the data could not be measured.")
    elif resemblance < LOW:
        found.append(
            "The model does NOT behave like one that never saw the data: on a scale from 0 to 1, it resembles one by "
            f"{resemblance:.2f}. It knows more of the data than such a model, or was driven further away from them."
        )
    findings = findings_of(certificate)
    if failed := [ATTACKS.get(f["metric"], f["metric"]) for f in findings if f["passes"] is False]:
        found.append(
            f"By {len(failed)} of {len(findings)} numbers of attacks it is UNLIKE models without the data."
        )
    if not findings:
        found.append("No attacks on the unlearned model were run beyond the measures above.")
    if certificate["reference"]["seeds"] == 1 and reference not in NO_REFERENCE:
        found.append(
            "The comparison is with a single model without the data; another training run would differ, too."
        )
    if certificate["provenance"]["code"]["dirty"]:
        found.append(
            "The code had changes that are not part of the named commit; its hash is that of the code "
            "that ran."
        )
    return found
