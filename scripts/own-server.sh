# Sourced by the scripts that start a server of their own.

# Unsets what leads to another server, its token or its store: `kaogong login --print-env` exports such things, and a job
# or a test would end up there. What the script means to take is named.
forget_settings() {
  local name
  for name in "${!KAOGONG_@}" "${!MLFLOW_@}" "${!OIP_@}" HF_ENDPOINT HF_TOKEN; do
    case " $* " in *" $name "*) ;; *) unset "$name" ;; esac
  done
}

# Cancels the jobs that the server of the program $1 still runs, with the Python $2: they outlive the server, and would go
# on over a folder that is gone. What cannot be cancelled is left.
cancel_jobs() {
  KAOGONG_PATIENCE_S=2 "$2" - "$1" >&2 <<'PY' || true
import json, subprocess, sys

def call(*words):
    done = subprocess.run([sys.argv[1], *words, "--output", "json"], capture_output=True, timeout=60)
    return json.loads(done.stdout) if done.returncode == 0 else {}

for project in call("access", "projects", "list").get("items", []):
    here = ["--project", project["name"]]
    jobs = [job["id"] for state in ("queued", "admitted", "starting", "running")
            for job in call("jobs", "list", "--state", state, "--limit", "500", *here).get("items", [])]
    for wait in ([], ["--wait"]):
        for job in jobs:
            call("jobs", "cancel", job, *wait, *here)
PY
}
