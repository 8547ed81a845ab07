"""The game's resources below /api/v1/ that Django serves."""

from django.urls import path

from bets import views

urlpatterns = [
    path("bets", views.BetsView.as_view()),
    path("bets/<id:bet_id>", views.BetView.as_view()),
    path("bets/by-nonce/<str:nonce>", views.BetByNonceView.as_view()),
    path("settlements/<id:column_start>", views.SettlementView.as_view()),
]
