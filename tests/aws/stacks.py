"""What moto's CloudFormation, in this process, lacks for stacks that people make, break and make again.

A change set gives outputs; a creation that fails says why in its events and is rolled back, and deleted if that was
asked for (OnStackFailure); RetainExceptOnCreate keeps resources; ImportExistingResources takes over buckets and
repositories that are there. All as the reference of CloudFormation says.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto.budgets.models import budgets_backends
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Event, Stack, cloudformation_backends
from moto.cloudformation.parsing import ResourceMap, get_model_list, get_model_map
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.common_models import CloudFormationModel
from moto.ecr.models import Repository, ecr_backends
from moto.s3.models import FakeBucket, s3_backends

from tests.aws.lambda_service import ACCOUNT
from tests.aws.world import REGION


class _Plain(CloudFormationModel):
    """A resource that exists in its stack only."""

    type = ""

    def __init__(self, name: str, properties: dict[str, Any]) -> None:
        self.name, self.properties = name, properties

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> Any:
        return cls(resource_name, cloudformation_json["Properties"])

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> Any:
        return cls(original_resource.name, cloudformation_json["Properties"])

    def delete(self, account_id: str, region: str) -> None:
        """Nothing outside of the stack is to be deleted."""


class BucketPolicy(_Plain, CloudFormationModel):
    """A policy of a bucket, which nobody is judged by."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::BucketPolicy"


class Budget(_Plain, CloudFormationModel):
    """A budget in moto's service of that name."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Budgets::Budget"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> Any:
        about = cloudformation_json["Properties"]
        given = {"BudgetName": resource_name, **about["Budget"]}
        budgets_backends[account_id]["aws"].create_budget(
            account_id, given, about.get("NotificationsWithSubscribers") or []
        )
        return cls(resource_name, about)

    def delete(self, account_id: str, region: str) -> None:
        budgets_backends[account_id]["aws"].delete_budget(account_id, self.name)


# moto looks at the subclasses that exist when it looks first.
for _known in (get_model_list, get_model_map):
    _known.cache_clear()
ADOPTED = {"AWS::S3::Bucket": FakeBucket, "AWS::ECR::Repository": Repository}


def stacks() -> dict[str, Stack]:
    """Stacks that are there, by name."""
    return {stack.name: stack for stack in cloudformation_backends[ACCOUNT][REGION].stacks.values()}


def add_event(stack: Stack, name: str, status: str, reason: str | None = None) -> None:
    """Add an event of a resource."""
    about = stack.template_dict.get("Resources", {}).get(name, {}).get("Type", "AWS::CloudFormation::Stack")
    stack.events.append(Event(stack.stack_id, stack.name, name, name, about, status, reason, None))


def complete_cloudformation(patch: pytest.MonkeyPatch) -> None:
    """Mend moto until the end of a test."""
    asked: dict[str, dict[str, str]] = {}
    adopting: list[bool] = [False]
    create_change_set, execute = CloudFormationResponse.create_change_set, CloudFormationBackend.execute_change_set
    delete = ResourceMap.delete

    def note(self: Any) -> Any:
        words = {key: self._get_param(key) for key in ("OnStackFailure", "ImportExistingResources")}
        made = create_change_set(self)
        asked[made.result["Id"]] = words
        return made

    def apply(self: ChangeSet) -> None:
        stack = self.stack
        stack.template = self.template
        stack._parse_template()
        stack.resource_map.update(self.template_dict, self.parameters)
        stack.parameters = self.parameters
        stack.output_map = stack._create_output_map()

    def execute_set(self: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
        change = self.change_sets[change_set_name]
        stack, words = change.stack, asked.get(change_set_name, {})
        before = len(stack.resource_map._parsed_resources)
        adopting[0] = str(words.get("ImportExistingResources")).lower() == "true"
        try:
            execute(self, change_set_name, stack_name)
        # Whatever a resource does not like.
        except Exception as problem:
            if change.change_set_type != "CREATE" or before > 20:
                raise
            fail(self, stack, f"{getattr(problem, 'message', problem)}", words.get("OnStackFailure"))
        else:
            for resource in stack.template_dict["Resources"]:
                add_event(stack, resource, f"{change.change_set_type}_COMPLETE")
            stack.events.append(stack.events.pop(-1 - len(stack.template_dict["Resources"])))
        finally:
            adopting[0] = False

    def fail(self: CloudFormationBackend, stack: Stack, why: str, then: str | None) -> None:
        add_event(stack, "LithopsBucket", "CREATE_FAILED", why)
        add_event(stack, "WorkerRole", "CREATE_FAILED", "Resource creation cancelled")
        for name, resource in list(stack.resource_map._parsed_resources.items()):
            content = stack.template_dict["Resources"].get(name)
            if content is not None and resource is not None:
                stack.resource_map._delete_resource(resource, content)
                del stack.resource_map._parsed_resources[name]
        stack.status = "DELETE_COMPLETE" if then == "DELETE" else "ROLLBACK_COMPLETE"
        stack._add_stack_event(stack.status)
        if then == "DELETE":
            self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)

    def keep(self: ResourceMap) -> None:
        for content in self._resource_json_map.values():
            if content.get("DeletionPolicy") == "RetainExceptOnCreate":
                content["DeletionPolicy"] = "Retain"
        delete(self)

    patch.setattr(CloudFormationResponse, "create_change_set", note)
    patch.setattr(ChangeSet, "apply", apply)
    patch.setattr(CloudFormationBackend, "execute_change_set", execute_set)
    patch.setattr(ResourceMap, "delete", keep)
    for kind in ADOPTED.values():
        patch.setattr(kind, "create_from_cloudformation_json", _adopting(kind, adopting))


def _adopting(kind: Any, adopting: list[bool]) -> Any:
    create = kind.create_from_cloudformation_json.__func__

    def take_over(cls: Any, name: str, content: Any, account_id: str, region_name: str, **words: Any) -> Any:
        backend: Any = s3_backends[account_id]["aws"] if kind is FakeBucket else ecr_backends[account_id][region_name]
        there = backend.buckets if kind is FakeBucket else backend.repositories
        given = name if kind is FakeBucket else content["Properties"].get("RepositoryName", name)
        if adopting[0] and given in there:
            return there[given]
        return create(cls, name, content, account_id, region_name, **words)

    return classmethod(take_over)


@contextmanager
def attached(policy: str) -> Iterator[None]:
    """Let the deletion of a stack fail until the end of the block, as that of a policy that is attached does."""
    with pytest.MonkeyPatch.context() as patch:

        def refuse(self: Stack) -> None:
            self._add_stack_event("DELETE_IN_PROGRESS", resource_status_reason="User Initiated")
            add_event(self, policy, "DELETE_FAILED", "Cannot delete a policy attached to entities.")
            self.status = "DELETE_FAILED"
            self._add_stack_event("DELETE_FAILED", f"The following resource(s) failed to delete: [{policy}].")

        def delete(self: CloudFormationBackend, name_or_stack_id: str) -> None:
            (stack,) = [one for one in self.stacks.values() if name_or_stack_id in (one.name, one.stack_id)]
            stack.delete()

        patch.setattr(Stack, "delete", refuse)
        patch.setattr(CloudFormationBackend, "delete_stack", delete)
        yield
