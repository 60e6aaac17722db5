"""What the page asks of the reader's own GPUs, models and files, and what is done about it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from ..common.errors import unknown
from ..common.yaml_records import Record
from .bounds import MAX_TEXT, Label, at_most
from .own_cards import FORM, WrongField, card_form, card_name, card_of_form, card_of_yaml, card_yaml, start_card
from .own_models import model_of_text, model_text

PastedText = Annotated[str, at_most(MAX_TEXT, "characters")]


class CardFormAsked(Record):
    """The form of a GPU, of the catalog by any name or the reader's own."""

    kind: Literal["card-form"]
    start: Annotated[str, at_most(200, "characters")]


class CardAsked(Record):
    """An own GPU as a form has it: what it began as, its name, and the name that it had before."""

    kind: Literal["card"]
    name: Annotated[str, at_most(200, "characters")]
    before: Annotated[str, at_most(200, "characters")]
    start: Label
    form: Annotated[dict[Label, Annotated[str, at_most(2000, "characters")]], at_most(100)]


class CardTextAsked(Record):
    """An own GPU as YAML."""

    kind: Literal["card-text"]
    name: Annotated[str, at_most(200, "characters")]
    before: Annotated[str, at_most(200, "characters")]
    text: PastedText


class ModelFormAsked(Record):
    """The text of an own model."""

    kind: Literal["model-form"]
    name: Label


class ModelTextAsked(Record):
    """An own model as a text, and the name of the one that it takes the place of."""

    kind: Literal["model-text"]
    before: Annotated[str, at_most(200, "characters")]
    text: PastedText


class DropOwnAsked(Record):
    """An own GPU or model that goes."""

    kind: Literal["drop-own"]
    what: Literal["card", "model"]
    name: Label


class StepAsked(Record):
    """What a step of a timing file works on, in words."""

    kind: Literal["step"]
    text: Annotated[str, at_most(200, "characters")]


OwnAsked = CardFormAsked | CardAsked | CardTextAsked | ModelFormAsked | ModelTextAsked | DropOwnAsked | StepAsked
#: Names of a view's fields: what is named, and the reader's own of it.
OWN_FIELDS = {"card": ("gpu", "cards"), "model": ("model", "configs")}
#: The field of a pin that names it.
PINNED_BY = {"card": "gpu", "model": "model"}


def form_of(start: str, cards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The form that edits a GPU, as the page builds it; ValueError for a name that none has."""
    if not start.strip():
        raise ValueError("a GPU to start from: give its name, such as h100")
    card = start_card(start.strip(), cards)
    values, own = card_form(card), card.id in cards
    fields = [field._asdict() | {"value": values[field.path]} for field in FORM]
    name = card.id if own else card_name(f"my-{card.id}")
    return {
        "kind": "card-form", "start": card.id, "before": card.id if own else "", "name": name, "fields": fields,
        "yaml": card_yaml(card),
    }  # fmt: skip


def taken_card(asked: CardAsked | CardTextAsked, view: Any) -> dict[str, Any]:
    """Fields of a view with an own GPU in place of the one that it was; WrongField for what is none."""
    name = asked.name.strip()
    if isinstance(asked, CardAsked):
        fields = card_of_form(name, start_card(asked.start, view.cards), asked.form)
    else:
        try:
            name, fields = card_of_yaml(asked.text, "the text", name)
        except ValueError as error:
            raise WrongField(str(error), "yaml") from None
    if name in view.cards and name != asked.before:
        raise WrongField(f"{name} is there already: give this one another name", "id")
    return renamed(view, "card", asked.before, name, fields)


def taken_model(asked: ModelTextAsked, view: Any) -> dict[str, Any]:
    """Fields of a view with an own model out of a text."""
    name, fields = model_of_text(asked.text, "the text")
    return renamed(view, "model", asked.before, free_name(name, fields, view.configs, asked.before), fields)


def free_name(name: str, fields: object, taken: Mapping[str, Any], before: str = "") -> str:
    """A name that nothing else of the reader's has."""
    while name != before and taken.get(name, fields) != fields:
        name += "-own"
    return name


def renamed(view: Any, what: str, before: str, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a view that has one of the reader's own among its names: at the place of the one before, or last.

    Pinned points follow its name.
    """
    named, own = OWN_FIELDS[what]
    names = [name if each == before else each for each in getattr(view, named)]
    kept = {key: value for key, value in getattr(view, own).items() if key != before}
    key = PINNED_BY[what]
    pins = [pin.model_dump() | ({key: name} if getattr(pin, key) == before else {}) for pin in view.pins]
    return {named: [*dict.fromkeys([*names, name])], own: kept | {name: fields}, "pins": pins}


def dropped(view: Any, asked: DropOwnAsked) -> dict[str, Any]:
    """Fields of a view without one of the reader's own, and without its pins."""
    named, own = OWN_FIELDS[asked.what]
    if asked.name not in getattr(view, own):
        raise unknown(f"own {asked.what}", asked.name, getattr(view, own))
    left = [name for name in getattr(view, named) if name != asked.name]
    if not left:
        raise ValueError(f"{asked.name} is all that is shown: add another first")
    key = PINNED_BY[asked.what]
    pins = [pin.model_dump() for pin in view.pins if getattr(pin, key) != asked.name]
    return {named: left, own: {k: v for k, v in getattr(view, own).items() if k != asked.name}, "pins": pins}


def text_of(name: str, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The text of an own model, to be edited."""
    if name not in configs:
        raise unknown("own model", name, configs)
    return {"kind": "model-text", "name": name, "text": model_text(configs[name])}


def is_card(text: str) -> bool:
    """Whether a text of YAML is a GPU rather than a model."""
    return any(line.startswith(("dense_tflops:", "memory:")) for line in text.splitlines())
