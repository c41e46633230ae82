"""tpu_vm.sh against a gcloud that answers from a list of states: what is called, in which order."""

import shlex

import pytest
from launch_scripts import CONFIG

SCRIPT = "tpu_vm.sh"
PLACE = ("--name", "run1", "--zone", "us-central2-b")
SPOT = ("--accelerator", "v5litepod-16", "--spot", "--nfs", "10.0.0.2:/share", "--config", CONFIG)

# Each look at the resource, and at the trainer, takes the next answer; the last one stays.
GCLOUD = """
def answer(name):
    file = {folder!r} + "/" + name
    lines = open(file).read().split("\\n")
    if len(lines) > 1:
        open(file, "w").write("\\n".join(lines[1:]))
    return lines[0]
words = sys.argv[1:]
if "list" in words:
    print(answer("states"))
if any(word.endswith("SubState --value") for word in words):
    print(answer("trainer"))
"""


@pytest.fixture
def cloud(checkout):
    """Sets what the next looks see: states of the resource, and of the trainer on host 0."""

    def sees(states, trainer=("running",)):
        for name, answers in (("states", states), ("trainer", trainer)):
            (checkout.root.parent / name).write_text("\n".join(answers))
        checkout.fake("gcloud", GCLOUD.format(folder=str(checkout.root.parent)))
        for name in ("git", "mkdir", "sleep"):
            checkout.fake(name)

    return sees


def run(checkout, action, *arguments):
    return checkout.run(SCRIPT, action, *PLACE, "--interval-s", "1", *arguments)


def verbs(commands):
    """What was asked of gcloud (its fourth word, and for ssh what the hosts do), without looks."""
    words = []
    for command in commands:
        if command[0] != "gcloud" or command[4] == "list":
            continue
        verb = command[4]
        if verb == "ssh":
            remote = command[command.index("--command") + 1]
            known = {"tar -x": "unpack", "mount -t nfs": "mount", "setup.sh": "setup"}
            known |= {"systemd-run": "start", "systemctl stop": "stop", "systemctl show": "show"}
            verb = next(name for part, name in known.items() if part in remote)
        words.append(verb)
    return words


UP = ["scp", "unpack", "mount", "setup", "start"]


def test_a_new_slice_is_made_and_the_plan_is_what_is_done(checkout, cloud):
    arguments = ("up", *PLACE, *SPOT, "--", "--seed", "1")
    planned = checkout.planned(SCRIPT, *arguments)
    cloud(["", "ACTIVE"])
    result = checkout.run(SCRIPT, *arguments)
    assert result.returncode == 0, result.stderr
    assert checkout.done() == planned
    assert verbs(planned) == ["create", *UP]
    create = next(command for command in planned if "create" in command)
    assert "--spot" in create
    assert create[create.index("--runtime-version") + 1] == "v2-alpha-tpuv5-lite"


def test_hosts_run_the_recipe_with_its_fields_in_the_shared_folder(checkout):
    *_, start = checkout.planned(
        SCRIPT, "start", *PLACE, *SPOT, "--", "--prompt.stop", "['it''s $X']"
    )
    remote = start[start.index("--command") + 1]
    words = shlex.split(remote.removesuffix("; } 2>&1"))
    recipe = ["train", "--config", CONFIG, "--distributed.auto", "true"]
    recipe += ["--run_dir", "/mnt/stepcoder/runs/run1"]
    # systemd takes $X for a variable's value, and two dollar signs for one.
    assert words[words.index("train") :] == [*recipe, "--prompt.stop", "['it''s $$X']"]
    assert "KillMode=mixed" in words


def test_a_slice_that_is_queued_is_waited_for(checkout, cloud):
    cloud(["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
    result = run(checkout, "up", *SPOT)
    assert result.returncode == 0, result.stderr
    assert verbs(checkout.done()) == UP


@pytest.mark.parametrize("state", ["SUSPENDED", "FAILED"])
def test_what_a_preemption_left_is_deleted_and_made_anew(checkout, cloud, state):
    cloud([state, "ACTIVE"])
    assert run(checkout, "up", *SPOT).returncode == 0
    assert verbs(checkout.done()) == ["delete", "create", *UP]


def test_a_preempted_run_is_taken_up_again_until_it_has_ended(checkout, cloud):
    states = ["", "ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDING", "SUSPENDED", "ACTIVE", "ACTIVE"]
    cloud(states, ["running", "exited"])
    result = run(checkout, "watch", *SPOT)
    assert result.returncode == 0, result.stderr
    again = ["show", "delete", "create", *UP, "show"]
    assert verbs(checkout.done()) == ["create", *UP, *again]


def test_a_trainer_that_fails_on_a_slice_that_stays_ends_the_watch(checkout, cloud):
    cloud(["ACTIVE"], ["failed"])
    result = run(checkout, "watch", *SPOT)
    assert result.returncode == 1
    assert "logs --name run1" in result.stderr


def test_a_trainer_that_failed_because_its_slice_went_does_not(checkout, cloud):
    cloud(["ACTIVE", "ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "ACTIVE"], ["failed", "exited"])
    result = run(checkout, "watch", *SPOT)
    assert result.returncode == 0, result.stderr
    assert "delete" in verbs(checkout.done())


@pytest.mark.parametrize("state", ["", "FAILED", "SUSPENDED"])
def test_what_will_not_become_active_is_not_waited_for(checkout, cloud, state):
    cloud([state])
    result = run(checkout, "wait")
    assert result.returncode == 1
    assert f"'{state}'" in result.stderr


def test_a_gcloud_that_fails_is_not_taken_for_an_absent_slice(checkout):
    checkout.fake("gcloud", "sys.exit(1)")
    result = run(checkout, "up", *SPOT)
    assert result.returncode == 1
    assert [command[4] for command in checkout.done()] == ["list"]


@pytest.mark.parametrize(
    ("action", "verb", "word"),
    [
        ("status", "show", "all"),
        ("stop", "stop", "all"),
        ("delete", "delete", "--force"),
        ("setup", "setup", "all"),
    ],
)
def test_each_other_action_is_one_command(checkout, action, verb, word):
    planned = checkout.planned(SCRIPT, action, *PLACE)
    assert verbs(planned) == [verb]
    assert word in planned[-1]


def test_logs_are_those_of_the_host_that_was_asked_for(checkout):
    (logs,) = checkout.planned(SCRIPT, "logs", *PLACE, "--worker", "3", "--project", "my-project")
    assert logs[logs.index("--worker") + 1] == "3"
    assert logs[-2:] == ["--project", "my-project"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--zone", "us-central2-b"), ["--name"]),
        (("stop", "--name", "Run_1", "--zone", "us-central2-b"), ["--name", "Run_1"]),
        (("stop", "--name", "run1", "--zone", "moon"), ["--zone", "moon"]),
        (("fly", *PLACE), ["fly", "watch"]),
        ((*PLACE,), ["action"]),
        (("up", "down", *PLACE), ["down", "up"]),
        (("create", *PLACE, "--accelerator", "h100-8"), ["--accelerator", "h100-8"]),
        (("create", *PLACE, "--accelerator", "v6e-8", "--spot"), ["--spot", "--nfs"]),
        (("create", *PLACE, "--accelerator", "v5p-16"), ["v5p-16", "--nfs"]),
        (("stop", *PLACE, "--nfs", "10.0.0.2"), ["--nfs", "10.0.0.2"]),
        (("logs", *PLACE, "--worker", "all"), ["--worker", "all"]),
        (("wait", *PLACE, "--interval-s", "0"), ["--interval-s", "'0'"]),
        (("start", *PLACE, "--config", "none.yaml"), ["--config", "none.yaml"]),
    ],
)
def test_bad_usage_names_the_option_and_the_value(checkout, arguments, words):
    line = checkout.refusal(SCRIPT, *arguments)
    assert all(word in line for word in words), line
