"""The section `data` of params.yaml: sources, splits and benchmarks."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ragcun.param_forms import Name, Place, Section, Text


class MsMarco(Section):
    """MS MARCO as pairs: which of it, and how its held-out queries are divided."""

    revision: Text
    max_train_samples: Annotated[int, Field(ge=1)] | None
    split_ratio: Annotated[float, Field(gt=0, lt=1)]
    max_negatives: Annotated[int, Field(ge=0)]


class Wikipedia(Section):
    """Wikipedia as passages: which of it, and what makes a passage. Lengths are in characters."""

    revision: Text
    language: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    dump_date: Annotated[str, Field(pattern=r"^\d{8}$")]
    num_passages: Annotated[int, Field(ge=1)]
    min_length: Annotated[int, Field(ge=1)]
    max_length: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _a_passage_fits(self) -> Self:
        if self.max_length < 2 * self.min_length:
            raise ValueError(
                f"max_length is {self.max_length}, less than twice min_length ({self.min_length}): a text between the two "
                "could not be cut into passages; raise it"
            )
        return self


class OwnPairs(Section):
    """How a file of pairs without a `split` column is divided: shares of its queries."""

    dev_ratio: Annotated[float, Field(gt=0, lt=1)]
    test_ratio: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _train_is_left(self) -> Self:
        if self.dev_ratio + self.test_ratio >= 1:
            raise ValueError("dev_ratio and test_ratio leave no pair to train on: lower them")
        return self


class Data(Section):
    passages: Place
    pairs: Place
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    msmarco: MsMarco
    wikipedia: Wikipedia
    own_pairs: OwnPairs
    mined_negatives: Annotated[int, Field(ge=0)]
    benchmarks: Annotated[list[Name], Field(min_length=1)]
    # params.yaml and dvc.lock are shared: a user and a password belong in ~/.netrc, and a token in no query.
    beir_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#@\[\]]+(/[^\s?#@]*)?$")]
    beir_published: bool
    local: dict[Name, Place]
    queries_are_documents: list[Name]
    validation: Name | None

    @model_validator(mode="after")
    def _benchmarks_have_names_of_their_own(self) -> Self:
        # To some file systems, names that differ in capitals alone are the same.
        folders = [name.lower() for name in self.benchmarks]
        if "pairs" in folders:
            raise ValueError("benchmarks names one `pairs`, where the vectors of the training pairs lie: rename it")
        twice = sorted({name for name in self.benchmarks if folders.count(name.lower()) > 1})
        if twice:
            raise ValueError(f"benchmarks lists {', '.join(twice)} more than once, capitals aside: list each name once")
        return self

    @model_validator(mode="after")
    def _the_users_own_benchmarks_alone_need_to_be_told(self) -> Self:
        others = [name for name in self.queries_are_documents if name not in self.local]
        if others:
            raise ValueError(
                f"queries_are_documents names {', '.join(others)}, not in local: of the benchmarks that ragcun brings it is "
                "known; correct the name, or remove it"
            )
        return self
