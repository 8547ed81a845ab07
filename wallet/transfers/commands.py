"""What traders, staff and the custodian may ask of the writer about money that is no bet's."""

from typing import Any, ClassVar, Final, Literal

import msgspec

from taptrading.errors import Refusal
from taptrading.money import MAX_INT
from wallet.protocol import Command


class OpenWallet(Command, frozen=True, tag="open_wallet"):
    """Open the wallet of an address; done before, it names the same wallet."""

    address: str


class RequestDeposit(Command, frozen=True, tag="request_deposit"):
    wallet_id: int
    amount_micros: int


class RequestWithdrawal(Command, frozen=True, tag="request_withdrawal"):
    wallet_id: int
    amount_micros: int
    to_address: str
    nonce: str
    timestamp: int
    signature: bytes


class CancelWithdrawal(Command, frozen=True, tag="cancel_withdrawal"):
    wallet_id: int
    withdrawal_id: int


class ApproveWithdrawal(Command, frozen=True, tag="approve_withdrawal"):
    """A large one takes two people."""

    withdrawal_id: int
    by: str
    also_by: str = ""


class RejectWithdrawal(Command, frozen=True, tag="reject_withdrawal"):
    withdrawal_id: int
    by: str
    reason: str


class MarkSent(Command, frozen=True, tag="mark_sent"):
    withdrawal_id: int


class Reported(msgspec.Struct, array_like=True, frozen=True, tag="reported"):
    outcome: Literal["applied", "repeated", "unmatched"]


class CustodyReport(Command, frozen=True, tag="custody_report"):
    """What the custodian says has happened, once per `event_id`."""

    outcomes: ClassVar[Any] = Reported | Refusal
    event_id: str
    type: str
    reference: str
    address: str
    amount_micros: int

    @property
    def row_id(self) -> int | None:
        """The id that its reference holds, if it is one of ours."""
        if self.reference.isascii() and self.reference.isdecimal() and len(self.reference) <= 19:
            number = int(self.reference)
            return number if number <= MAX_INT else None
        return None


class FundHouse(Command, frozen=True, tag="fund_house"):
    """Move money that the custodian holds for the operator into the house, once a reference."""

    amount_micros: int
    reference: str
    by: str = ""
    also_by: str = ""
    reason: str = ""


class Adjust(Command, frozen=True, tag="adjust"):
    """Move money between the house and a player, or out of the house to the operator, once a
    reference. That two people want it is for whoever sends it to see to."""

    debit_wallet_id: int
    credit_wallet_id: int
    amount_micros: int
    reference: str
    by: str = ""
    also_by: str = ""
    reason: str = ""


class SetFrozen(Command, frozen=True, tag="set_frozen"):
    wallet_id: int
    frozen: bool
    by: str = ""
    reason: str = ""


KINDS: Final[tuple[type[Command], ...]] = (
    OpenWallet,
    RequestDeposit,
    RequestWithdrawal,
    CancelWithdrawal,
    ApproveWithdrawal,
    RejectWithdrawal,
    MarkSent,
    CustodyReport,
    FundHouse,
    Adjust,
    SetFrozen,
)
