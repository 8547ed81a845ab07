"""Wallet's resources below /api/v1/."""

from django.urls import path

from wallet import player_views, signin_views, views

urlpatterns = [
    path("auth/nonce", signin_views.NonceView.as_view()),
    path("auth/login", signin_views.LoginView.as_view()),
    path("auth/logout", signin_views.LogoutView.as_view()),
    path("session-keys", signin_views.SessionKeysView.as_view()),
    path("session-keys/<id:key_id>", signin_views.SessionKeyView.as_view()),
    path("wallet", views.WalletView.as_view()),
    path("player-limits", player_views.PlayerLimitsView.as_view()),
    path("ledger", views.LedgerView.as_view()),
    path("deposits", views.DepositsView.as_view()),
    path("withdrawals", views.WithdrawalsView.as_view()),
    path("withdrawals/<id:withdrawal_id>", views.WithdrawalView.as_view()),
    path("custody/events", views.CustodyEventsView.as_view()),
]
