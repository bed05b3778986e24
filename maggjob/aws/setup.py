"""``maggjob cloud setup``: from credentials to a function that can be called, in steps that can be repeated.

`setup_steps` says what is to be done about what `maggjob.aws.survey` found, and each step does it. A step that finds
its work done goes on, so that a command that failed is simply typed again.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maggjob.aws.build import push_image
from maggjob.aws.function import deploy_function, function_name, memory_of
from maggjob.aws.installation import CONFIG_KEY, bucket_state, list_images
from maggjob.aws.lithops_file import AccountValues, fill_in, write_file
from maggjob.aws.login import ecr_login
from maggjob.aws.refusals import explain_text, refusals
from maggjob.aws.stack import apply_stack, recover_stack
from maggjob.aws.stack_state import Say, Stack, decide
from maggjob.aws.survey import SetupOptions, Survey, look_at_deployment
from maggjob.backend.settings import lithops_config
from maggjob.errors import BackendError, InputError
from maggjob.inputs.plain_yaml import load_yaml

ROLE_PAUSES = (10.0, 20.0)
"""Seconds to wait until Lambda knows a new role."""


@dataclass(frozen=True)
class SetupStep:
    """One step."""

    name: str
    """Name."""
    todo: str
    """What it will do, or find done."""
    run: Callable[[], str]
    """Function that does it, and returns what came of it."""


def setup_steps(found: Survey, options: SetupOptions, session: Any, say: Say) -> list[SetupStep]:
    """Return the steps from what is there to a function that can be called.

    Parameters
    ----------
    found : Survey
    options : SetupOptions
    session : boto3.Session
    say : callable
        Called with lines about the progress of a step.
    """
    work = _Setup(found, options, session, say)
    if found.stack is None:
        stack = f"create {found.names.stack}: role, policies, repository, budget, buckets {found.names.lithops_bucket} "
        stack += f"and {found.names.output_bucket}"
    elif found.is_stack_current:
        stack = f"{found.names.stack} is up to date"
    elif decide(found.stack.status) == "update":
        stack = f"update {found.names.stack}"
    else:
        stack = f"bring {found.names.stack} in order ({found.stack.status})"
    image = f"{found.image.uri} is there" if found.deployment.has_image else f"build and push {found.image.uri}"
    name = function_name(found.image, memory_of(found.config))
    function = f"{name} is there" if found.deployment.is_deployed else f"create {name}"
    verb = "write" if found.text is None else "set the values of the account in"
    return [
        SetupStep("stack", stack, work.make_stack),
        SetupStep("image", image, work.make_image),
        SetupStep("function", function, work.make_function),
        SetupStep("file", f"{verb} {options.file}", work.make_file),
        SetupStep("publish", f"copy it to s3://{found.names.lithops_bucket}/{CONFIG_KEY}", work.publish),
    ]


def carry_out_setup(steps: Sequence[SetupStep], say: Say, dry_run: bool = False) -> None:
    """Carry out steps one after the other, and say how long each took.

    Parameters
    ----------
    steps : sequence of SetupStep
    say : callable
    dry_run : bool
        If True, only say what the steps would do.

    Raises
    ------
    BackendError
        If a step fails; the message begins with its name.
    InputError
        If what was asked for is not possible.
    """
    for number, step in enumerate(steps, 1):
        say(f"{number}/{len(steps)} {step.name}: {step.todo}")
        if dry_run:
            continue
        began = time.monotonic()
        with refusals(step.name):
            outcome = step.run()
        say(f"    {outcome} ({time.monotonic() - began:.1f} s)")


class _Setup:
    """The steps of a setup, and what each found out for the next."""

    def __init__(self, found: Survey, options: SetupOptions, session: Any, say: Say) -> None:
        self.found, self.options, self.session = found, options, session
        self.say: Say = lambda line: say(f"    {line}")
        self.stack: Stack | None = None
        self.text = ""

    def make_stack(self) -> str:
        cloud, wanted, pause = self.session.client("cloudformation"), self.found.wanted, self.options.pause
        before = recover_stack(cloud, wanted.name, self.say, pause)
        if before is None:
            wanted = replace(wanted, adopt=self._check_names())
        self.stack = apply_stack(cloud, wanted, before, self.say, pause)
        return f"{self.stack.name} is {self.stack.status}"

    def _check_names(self) -> bool:
        """Check that the names of buckets can be had; return True if something of these names is left in the account.

        Raises
        ------
        InputError
            If a bucket of this name belongs to somebody else.
        """
        names, s3 = self.found.names, self.session.client("s3")
        left = []
        for bucket in (names.lithops_bucket, names.output_bucket):
            state = bucket_state(s3, bucket, self.found.account)
            if state == "taken":
                raise InputError(
                    f"the bucket name {bucket} is taken by another account or region, or you may not look at it; "
                    "give another first part of the names with --bucket-prefix"
                )
            left += [bucket] if state == "ours" else []
        ecr, repository = self.session.client("ecr"), self.found.image.repository
        try:
            ecr.describe_repositories(repositoryNames=[repository])
            left.append(repository)
        except ecr.exceptions.RepositoryNotFoundException:
            pass
        if left:
            self.say(f"{', '.join(left)}: left by a former stack, taken over")
        return bool(left)

    def make_image(self) -> str:
        image, ecr = self.found.image, self.session.client("ecr")
        if any(image.tag in one.tags for one in list_images(ecr, image.repository)):
            return f"{image.runtime} is in the repository"
        if self.options.docker:
            self._push_by_docker(ecr)
            return f"{image.runtime} was pushed by Docker"
        pushed = push_image(image, ecr_login(ecr), self.options.build, self.say)
        return f"{image.runtime}: {pushed.sent / 1e6:.1f} MB sent, {pushed.fetched / 1e6:.1f} MB fetched"

    def _push_by_docker(self, ecr: Any) -> None:
        from maggjob.aws.docker import build_steps, push_steps, write_context
        from maggjob.aws.steps import carry_out

        with tempfile.TemporaryDirectory(prefix="maggjob-image-") as name:
            context = Path(name) / "context"
            steps = build_steps(self.found.image, context, self.options.build)
            write_context(context)
            carry_out([*steps, *push_steps(self.found.image, ecr)], self.say)

    def make_function(self) -> str:
        image, stack = self.found.image, self._made_stack()
        self.text, config = self._filled(stack)
        there = look_at_deployment(self.session, image, config, stack)
        function = there.function
        if function is not None and there.is_deployed:
            return f"{function.name} is {function.state}"
        client = self.session.client("lambda")
        if function is not None and (function.role != stack.outputs["ExecutionRole"] or function.state == "Failed"):
            self.say(f"{function.name} has another role or has failed: it is made again")
            client.delete_function(FunctionName=function.name)
        with tempfile.TemporaryDirectory(prefix="maggjob-cloud-") as folder:
            file = Path(folder) / "lithops_config.yaml"
            file.write_text(self.text, encoding="utf-8")
            name = self._deploy(config, file)
        return f"{name} can be called"

    def _deploy(self, config: Mapping[str, Any], file: Path) -> str:
        """Deploy the function; wait if Lambda does not know a new role yet."""
        self.say("Lithops creates the function, and calls it once")
        pauses = iter(ROLE_PAUSES)
        while True:
            try:
                return deploy_function(self.session, config, self.found.image, file, self.say, quiet=True)
            except BackendError as problem:
                pause = next(pauses, None) if "cannot be assumed by Lambda" in str(problem) else None
                if pause is None:
                    raise BackendError(explain_text(str(problem))) from problem
                self.say(f"Lambda does not know the new role yet: trying again in {pause:.0f} s")
                time.sleep(pause)

    def make_file(self) -> str:
        self.text, _ = self._filled(self._made_stack())
        path = self.options.file
        if self.found.text == self.text:
            return f"{path} has the values of the account"
        changes = fill_in(self.found.text, self._values(self._made_stack())).changes
        for change in changes:
            self.say(change)
        write_file(path, self.text)
        kept = "" if self.found.text is None else "; every other line is as it was"
        return f"{path} is written{kept}"

    def publish(self) -> str:
        bucket = self._made_stack().outputs["StorageBucket"]
        self.session.client("s3").put_object(Bucket=bucket, Key=CONFIG_KEY, Body=self.text.encode())
        return f"users of a hub get it with 'maggjob cloud use --bucket {bucket}'"

    def _made_stack(self) -> Stack:
        if self.stack is None:
            raise BackendError("the stack was not made; run the same command again")
        return self.stack

    def _values(self, stack: Stack) -> AccountValues:
        outputs = stack.outputs
        missing = {"ExecutionRole", "StorageBucket", "OutputBucket"} - outputs.keys()
        if missing:
            raise BackendError(
                f"stack {stack.name} has no output {', '.join(sorted(missing))}: it is not one of maggjob's; "
                "give another --name"
            )
        names = self.found.names
        return AccountValues(
            self.found.region,
            outputs["StorageBucket"],
            outputs["ExecutionRole"],
            self.found.image.runtime,
            names.namespace,
        )

    def _filled(self, stack: Stack) -> tuple[str, dict[str, Any]]:
        text = fill_in(self.found.text, self._values(stack)).text
        return text, lithops_config("aws_lambda", given=load_yaml(text))
