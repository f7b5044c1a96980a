"""What the demo's customers write: a few lines in eight languages, to support and to one more touchpoint each.

One row per language: who writes, from where, and how their mail program encodes it. Nobody here is a real person;
the authors are called Customer 2 in their own language.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """A subject and a text."""

    subject: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """How people who write in one language do it."""

    name: str
    author: str
    """The word for customer."""
    domain: str
    charset: str
    coding: str
    html: bool
    """Whether an HTML part goes with the text."""
    support: Letter
    desk: str
    """The other touchpoint that gets a letter: jobs or sales."""
    letter: Letter


LANGUAGES = (
    Language(
        name="English",
        author="Customer",
        domain="customers.example",
        charset="us-ascii",
        coding="7bit",
        html=False,
        desk="jobs",
        letter=Letter(
            subject="Application: night shift in the warehouse",
            text="Hello,\n\nI would like to apply for the night shift.\nI can start next month.\n\nCustomer\n",
        ),
        support=Letter(
            subject="Order 4711 arrived without its charger",
            text="Good morning,\n\nthe parcel came today, but the charger was missing.\nWhat shall I do?\n\nThanks\n",
        ),
    ),
    Language(
        name="German",
        author="Kunde",
        domain="kunden.example",
        charset="iso-8859-1",
        coding="quoted-printable",
        html=False,
        support=Letter(
            subject="Rückgabe: Gerät läuft nicht an",
            text="Hallo,\n\ndas Gerät läuft nicht an. Wohin soll ich es zurückschicken?\n\nViele Grüße\n",
        ),
        desk="sales",
        letter=Letter(
            subject="Angebot für größere Stückzahl",
            text="Sehr geehrte Damen und Herren,\n\nbitte um ein Angebot über 250 Stück.\n\nMit freundlichen Grüßen\n",
        ),
    ),
    Language(
        name="French",
        author="Client",
        domain="clients.example",
        charset="utf-8",
        coding="8bit",
        html=True,
        desk="jobs",
        letter=Letter(
            subject="Candidature spontanée à l’atelier",
            text="Bonjour,\n\nje vous propose ma candidature pour l’atelier.\n\nBien à vous\n",
        ),
        support=Letter(
            subject="Colis abîmé à la réception",
            text="Bonjour,\n\nle colis était abîmé à la réception. Voici ce que j’ai noté : coin écrasé.\n\nMerci\n",
        ),
    ),
    Language(
        name="Spanish",
        author="Cliente",
        domain="clientes.example",
        charset="windows-1252",
        coding="quoted-printable",
        html=True,
        support=Letter(
            subject="¿Dónde está mi pedido 815?",
            text="Hola:\n\nhace dos semanas que espero mi pedido. ¿Cuándo llegará?\n\nGracias\n",
        ),
        desk="sales",
        letter=Letter(
            subject="Información sobre tamaños y precios",
            text="Buenas tardes:\n\nnecesito información sobre tamaños y precios – sin prisa.\n\nGracias\n",
        ),
    ),
    Language(
        name="Japanese",
        author="お客様",
        domain="kokyaku.example",
        charset="iso-2022-jp",
        coding="7bit",
        html=False,
        desk="jobs",
        letter=Letter(
            subject="求人への応募について", text="はじめまして。\n\n求人に応募します。\n\nよろしくお願いします。\n"
        ),
        support=Letter(
            subject="商品が届きません",
            text="こんにちは。\n\n注文した商品がまだ届きません。\n\nお返事を待っています。\n",
        ),
    ),
    Language(
        name="Arabic",
        author="عميل",
        domain="omala.example",
        charset="utf-8",
        coding="base64",
        html=True,
        support=Letter(subject="لم يصل الطلب", text="مرحبا،\n\nلم يصل الطلب حتى اليوم. متى يصل؟\n\nشكرا\n"),
        desk="sales",
        letter=Letter(subject="سؤال عن الأسعار", text="مرحبا،\n\nما هو السعر لخمسين قطعة؟\n\nمع التحية\n"),
    ),
    Language(
        name="Greek",
        author="Πελάτης",
        domain="pelates.example",
        charset="iso-8859-7",
        coding="base64",
        html=False,
        desk="jobs",
        letter=Letter(subject="Αίτηση για εργασία", text="Καλημέρα,\n\nενδιαφέρομαι για τη θέση.\n\nΕυχαριστώ\n"),
        support=Letter(subject="Λάθος χρώμα στην παραγγελία", text="Καλησπέρα,\n\nήρθε λάθος χρώμα.\n\nΕυχαριστώ\n"),
    ),
    Language(
        name="Portuguese",
        author="Freguês",
        domain="fregueses.example",
        charset="utf-8",
        coding="quoted-printable",
        html=True,
        support=Letter(
            subject="A fatura não está certa", text="Olá,\n\na fatura não está certa: há dois valores.\n\nObrigado\n"
        ),
        desk="sales",
        letter=Letter(subject="Preço com instalação", text="Bom dia,\n\nqual é o preço com instalação?\n\nObrigado\n"),
    ),
)
