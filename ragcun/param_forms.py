"""What a section of params.yaml is, the forms that its texts have, and what an error says."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator


class Section(BaseModel):
    # Numbers become text where text is asked for: `-S data.wikipedia.dump_date=20231101` arrives as a number.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_switch_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        # Python takes true for 1.
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("true and false (yes and no, on and off) are switches: write a number, or quote a word")
        return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("it is blank: write what it should be")
    return value


def _no_address(value: str) -> str:
    if "://" in value:
        raise ValueError("it is an address: download what is there, and name the file or folder")
    return value


# A folder's name, in several places.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
# Those of ragcun.measure.ranking, at the cut-off that selection measures.
Metric = Annotated[str, Field(pattern=r"^(dev|validation)_(ndcg|map|recall|p|mrr)@10$")]
# Neither blank nor, where it may be a path, an address.
Text = Annotated[str, AfterValidator(_not_blank)]
Place = Annotated[Text, AfterValidator(_no_address)]

# Of keys that have a form, in the place of the pattern.
_WRITTEN: dict[int | str, str] = {
    "dump_date": "eight digits, such as 20231101",
    "language": "Wikipedia's code, such as en",
    "beir_url": "https://HOST/PATH, without user and password, and without ? and #: it is shared with params.yaml",
    "metric_for_best": "dev_ or validation_ and ndcg@10, map@10, recall@10, p@10 or mrr@10, such as dev_ndcg@10",
}


def describe(error: ValidationError) -> str:
    """One line for each wrong key: where, what, and what to do."""
    lines = []
    for problem in error.errors():
        # A union's branches add their own names behind the key; only mappings' keys are the user's.
        where = ".".join(str(part) for part in problem["loc"] if part not in ("literal['gpu']", "constrained-int"))
        # What is wrong with an address may be the password in it.
        hidden = problem["type"] in ("missing", "value_error") or problem["loc"][-1:] == ("beir_url",)
        given = "" if hidden else f" (given: {problem['input']!r})"
        if problem["type"] == "string_pattern_mismatch" and problem["loc"][-1] in _WRITTEN:
            problem = {**problem, "msg": f"write it as {_WRITTEN[problem['loc'][-1]]}"}
        message = {
            "extra_forbidden": "unknown key: correct its name or remove it",
            "missing": "missing: add it",
        }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        lines.append(f"{where}: {message}{given}" if where else message)
    return "; ".join(dict.fromkeys(lines))
