"""`make demo`: start the archive, load three facilities' studies, read them back, show the way in."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from demo.archive import Archive, SignIns, free_port, register
from demo.client import Sent, c_store, retrieve, stow, studies_of
from demo.residents import FACILITIES, STUDIES, instances, uid


def main() -> int:
    """Exit status 0 when everything was loaded and came back to the letter."""
    words = argparse.ArgumentParser(prog="make demo", description=__doc__)
    words.add_argument("--once", action="store_true", help="end when all was read back")
    words.add_argument("--data", type=Path, default=Path("demo-data"), help="folder of the archive")
    wanted = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    archive = Archive(wanted.data.resolve(), free_port(8080), free_port(11112))
    print("Starting the archive ...", flush=True)
    archive.start()
    try:
        sign_ins = register(archive)
        load_and_read_back(archive, sign_ins)
        print(tour(archive, sign_ins), flush=True)
        if not wanted.once:
            print("Ctrl-C ends the demonstration; the next `make demo` goes on with its data.")
            while archive.process is not None and archive.process.poll() is None:
                time.sleep(0.5)
    except KeyboardInterrupt:
        print()
    finally:
        status = archive.stop()
    return status


def load_and_read_back(archive: Archive, sign_ins: SignIns) -> None:
    """Send every study through its facility's door; compare what comes back, byte for byte."""
    print(f"\n{'facility':<20}{'door':<10}{'study':<12}{'images':>7}{'MB':>8}{'back':>7}")
    doors = {f.code: f for f in FACILITIES}
    for study in STUDIES:
        facility = doors[study.facility]
        files = list(instances(study))
        if facility.door == "C-STORE":
            sent = c_store(archive, facility.ae_title, files)
        else:
            sent = stow(archive, sign_ins.senders[facility.code], files)
        study_uid = uid("study", study.facility, study.accession_number)
        for token in (sign_ins.senders[facility.code], sign_ins.clinician):
            check(sent, retrieve(archive, token, study_uid))
        megabytes = sum(len(s.data_set) for s in sent) / 1e6
        print(
            f"{facility.name:<20}{facility.door:<10}{study.description:<12}"
            f"{len(sent):>7}{megabytes:>8.1f}{'same':>7}",
            flush=True,
        )
    found = studies_of(archive, sign_ins.clinician, "PatientName=PELLETIER*")
    own = studies_of(archive, sign_ins.senders["NPH"], "PatientName=PELLETIER*")
    print(
        f"\nPELLETIER: a clinician finds {len(found)} studies of three facilities, "
        f"Northport's own PACS its own {len(own)}."
    )
    if len(found) != 3 or len(own) != 1:
        raise SystemExit("that is not what was sent")


def check(sent: list[Sent], back: dict[str, bytes]) -> None:
    """Every instance that was acknowledged is there, to the letter, and no other."""
    if back != {s.sop_instance_uid: s.data_set for s in sent}:
        raise SystemExit("what came back is not what was sent")


def tour(archive: Archive, sign_ins: SignIns) -> str:
    """How to ask it oneself, with the values of this run filled in."""
    port, url, token = archive.dimse_port, archive.url, sign_ins.clinician
    study = uid("study", "NPH", "N-1001")
    passwords = "".join(
        f"\n  {login:<10} {password}" for login, password in sign_ins.passwords.items()
    )
    return f"""
Sebago is at {url}   DICOM: SEBAGO@127.0.0.1:{port}   data: {archive.data}
Sign-ins (login, password):{passwords}
A clinician's bearer token:
  {token}

Try it (findscu, storescu and getscu are DCMTK's):
  export TOKEN={token}
  curl -s -H "Authorization: Bearer $TOKEN" "{url}/dicomweb/studies?PatientName=pelletier*"
  curl -s -H "Authorization: Bearer $TOKEN" "{url}/dicomweb/studies/{study}/metadata" | head -c 600
  curl -s -H "Authorization: Bearer $TOKEN" -H "Accept: image/jpeg" -o head.jpg \\
    "{url}/dicomweb/studies/{study}/rendered"
  findscu -S -aet NPH_PACS -aec SEBAGO 127.0.0.1 {port} -k QueryRetrieveLevel=STUDY \\
    -k PatientName= -k PatientID= -k StudyDate= -k StudyDescription= -k StudyInstanceUID=
  storescu -aet RBC_PACS -aec SEBAGO 127.0.0.1 {port} demo/data/us-heart/I_000003.dcm -xy
  getscu -S -aet NPH_PACS -aec SEBAGO 127.0.0.1 {port} -k QueryRetrieveLevel=STUDY \\
    -k StudyInstanceUID={study}
  SEBAGO_DATA={archive.data} {Path(sys.executable).parent / "sebago"} status
"""


if __name__ == "__main__":
    sys.exit(main())
