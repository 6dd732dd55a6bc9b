"""``python -m hamu_ray.certify RUN``: a signed certificate of a run for people who are not engineers."""

import argparse
from pathlib import Path

from hamu_ray.command import program, run_command
from hamu_ray.config.sources.files import ConfigError
from hamu_ray.storage import storage_path


def main() -> int:
    """Write the certificate of a run, verify one, or make a key. Return 0, or 1 for one that does not hold."""
    parser = make_parser()
    arguments = parser.parse_args()
    chosen = [name for name in ("run", "verify", "new_key") if getattr(arguments, name) is not None]
    if len(chosen) != 1:
        parser.error("give one of RUN, --verify CERTIFICATE.json and --new-key KEY.pem")
    used = {"run": {"key", "out"}, "verify": {"model", "public_key"}, "new_key": set()}[chosen[0]]
    for name in ("key", "out", "model", "public_key"):
        if getattr(arguments, name) is not None and name not in used:
            parser.error(f"--{name.replace('_', '-')} does not go with {chosen[0].replace('_', '-')}")
    return {"run": _certify, "verify": _verify, "new_key": _new_key}[chosen[0]](arguments)


def make_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog=program("certify"),
        description="Write a certificate of what a run has unlearned, as page, PDF and signed JSON, or verify one.",
    )
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="a run's folder, such as runs/sweeps/digits-20260101-120000/trials/0003",
    )
    parser.add_argument("--key", metavar="KEY.pem", help="Ed25519 private key to sign with")
    parser.add_argument("--out", metavar="FOLDER", help="output folder (default: the run's folder)")
    parser.add_argument(
        "--verify", metavar="CERTIFICATE.json", help="check a certificate: true or false, and why"
    )
    parser.add_argument(
        "--model", metavar="FOLDER", help="folder of the unlearned model (default: that of the certificate)"
    )
    parser.add_argument(
        "--public-key",
        metavar="KEY.pub.pem",
        help="the signer's public key; otherwise the one in the certificate",
    )
    parser.add_argument(
        "--new-key", metavar="KEY.pem", help="make a private key, and KEY.pub.pem to give away"
    )
    return parser


def _certify(arguments: argparse.Namespace) -> int:
    from hamu_ray.certificate.make import certify

    folder = storage_path(arguments.run)
    if not folder.is_dir():
        raise ConfigError(f"{arguments.run}: no such folder; give the folder of a run")
    output = storage_path(arguments.out) if arguments.out else folder
    written = certify(folder, Path(arguments.key) if arguments.key else None, output)
    for path in written.files:
        print(path)
    print(
        f"signed with the key {written.fingerprint}" if written.fingerprint else "not signed (--key KEY.pem)"
    )
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from hamu_ray.certificate.keys import load_public
    from hamu_ray.certificate.verify import lines_of, verify

    public = load_public(Path(arguments.public_key)) if arguments.public_key else None
    model = storage_path(arguments.model) if arguments.model else None
    checks = verify(Path(arguments.verify), model, public)
    print("\n".join(lines_of(checks)))
    return 0 if all(check.holds for check in checks) else 1


def _new_key(arguments: argparse.Namespace) -> int:
    from hamu_ray.certificate.keys import new_key

    public, fingerprint = new_key(Path(arguments.new_key))
    print(f"{arguments.new_key}  private: keep it to yourself")
    print(f"{public}  public: give it to those who verify\nfingerprint {fingerprint}")
    return 0


if __name__ == "__main__":
    run_command(main)
