"""The certificate of a real run on texts, with an adapter, after an audit."""

from pathlib import Path

from hamu_ray.auditing.jobs import ModelJob, go_on, resident_of, run_model_job
from hamu_ray.auditing.subjects import subjects_of
from hamu_ray.certificate.make import CERTIFICATE, PAGE, certify
from hamu_ray.certificate.verify import verify
from hamu_ray.engine.unlearn import unlearn
from hamu_ray.pairing.group import Alone
from hamu_ray.results.folder import FORGET_FILE, MODEL_FILE
from tests.made_texts import FORGET, LORA, text_run


def flipped(path: Path) -> bytes:
    """Change one bit in the middle of a file; return what it was."""
    before = path.read_bytes()
    at = len(before) // 2
    path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    return before


def test_a_run_on_texts(tmp_path: Path, text_corpus: Path, key: Path) -> None:
    run = text_run(text_corpus, storage={"path": str(tmp_path)}, reference={"seeds": 2}, model={"lora": LORA})
    folder = tmp_path / "run"
    unlearn(run, resident_of(run.storage.path), Alone(), folder, go_on)
    (subject,) = subjects_of(str(folder))
    run_model_job(ModelJob(subject, ("quantisation", "paraphrase", "prefix")))
    certify(folder, key, folder)
    page = (folder / PAGE).read_text()
    assert f"Remove the influence of {FORGET} training texts of the data set tofu" in page
    for words in ("Probability that the model gives to the removed answers", "when asked in other words"):
        assert words in page
    assert "Bo number" not in page, "the content of the removed texts is not repeated"
    assert all(check.holds for check in verify(folder / CERTIFICATE, folder, None))
    for name in (MODEL_FILE, "adapter_model.safetensors", FORGET_FILE):
        before = flipped(folder / name)
        (wrong,) = [check for check in verify(folder / CERTIFICATE, folder, None) if not check.holds]
        assert f"{name} was changed: its SHA-256 is " in wrong.text
        (folder / name).write_bytes(before)
