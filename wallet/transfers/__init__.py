"""Deposit, hold, release, withdraw, fund, adjust, freeze: commands and their handler.

These are few, so each is decided on rows that the ORM fetched for the whole batch. Repeating
any of them changes nothing: a deposit is credited once per event, a withdrawal moves forward only.
"""

from wallet.transfers.commands import (
    KINDS,
    Adjust,
    ApproveWithdrawal,
    CancelWithdrawal,
    CustodyReport,
    FundHouse,
    MarkSent,
    OpenWallet,
    RejectWithdrawal,
    Reported,
    RequestDeposit,
    RequestWithdrawal,
    SetFrozen,
)
from wallet.transfers.handler import TransferHandler, TransferWork

__all__ = [
    "KINDS",
    "Adjust",
    "ApproveWithdrawal",
    "CancelWithdrawal",
    "CustodyReport",
    "FundHouse",
    "MarkSent",
    "OpenWallet",
    "RejectWithdrawal",
    "Reported",
    "RequestDeposit",
    "RequestWithdrawal",
    "SetFrozen",
    "TransferHandler",
    "TransferWork",
]
