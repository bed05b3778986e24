"""What to do about a stack in any state, and what is asked of CloudFormation."""

import pytest

from maggjob.aws.image import image_folder
from maggjob.aws.refusals import explain_refusal
from maggjob.aws.stack import Wanted, change_request
from maggjob.aws.stack_state import Stack, Todo, decide, template_parameters
from maggjob.aws.survey import name_in

# All states of the reference of CloudFormation.
STATES: dict[Todo, str] = {
    "create": "DELETE_COMPLETE",
    "remove": "REVIEW_IN_PROGRESS CREATE_FAILED ROLLBACK_COMPLETE ROLLBACK_FAILED DELETE_FAILED",
    "repair": "UPDATE_ROLLBACK_FAILED",
    "update": "CREATE_COMPLETE UPDATE_COMPLETE UPDATE_FAILED UPDATE_ROLLBACK_COMPLETE IMPORT_COMPLETE "
    "IMPORT_ROLLBACK_COMPLETE IMPORT_ROLLBACK_FAILED",
    "wait": "CREATE_IN_PROGRESS ROLLBACK_IN_PROGRESS DELETE_IN_PROGRESS UPDATE_IN_PROGRESS IMPORT_IN_PROGRESS "
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS UPDATE_ROLLBACK_IN_PROGRESS IMPORT_ROLLBACK_IN_PROGRESS "
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
}


@pytest.mark.parametrize(("status", "todo"), [(state, todo) for todo, all_ in STATES.items() for state in all_.split()])
def test_every_state_has_its_remedy(status: str, todo: Todo) -> None:
    assert decide(status) == todo


def test_no_stack_is_created() -> None:
    assert decide(None) == "create"


TEMPLATE = (image_folder() / "template.yaml").read_text()


def test_a_new_stack_leaves_nothing_when_it_fails() -> None:
    request = change_request(Wanted("maggjob", TEMPLATE, {"KeepDays": "7"}), None)
    assert (request["ChangeSetType"], request["OnStackFailure"]) == ("CREATE", "DELETE")
    assert "ImportExistingResources" not in request
    assert change_request(Wanted("maggjob", TEMPLATE, {}, adopt=True), None)["ImportExistingResources"] is True


def test_an_update_keeps_what_is_not_given() -> None:
    stack = Stack("maggjob", "arn", "CREATE_COMPLETE", parameters={"KeepDays": "7", "BudgetLimit": "9", "Older": "x"})
    request = change_request(Wanted("maggjob", TEMPLATE, {"KeepDays": "5"}), stack)
    assert (request["ChangeSetType"], "OnStackFailure" in request) == ("UPDATE", False)
    assert request["Parameters"] == [
        {"ParameterKey": "KeepDays", "ParameterValue": "5"},
        {"ParameterKey": "BudgetLimit", "UsePreviousValue": True},
    ]


def test_the_template_fits_into_a_request_and_its_parameters_are_known() -> None:
    assert len(TEMPLATE.encode()) <= 51_200
    assert {"LithopsBucketName", "OutputBucketName", "RepositoryName", "BudgetEmail"} <= set(
        template_parameters(TEMPLATE)
    )


def test_the_name_is_the_namespace_of_the_file() -> None:
    assert name_in("# maggjob\naws_lambda:\n  namespace: team\n") == "team"
    assert name_in("# maggjob\naws_lambda:\n") is None
    assert name_in(None) is None


def test_errors_are_one_line() -> None:
    assert "\n" not in explain_refusal(ValueError("a\nb"))
