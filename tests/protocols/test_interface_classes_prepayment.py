"""Prepayment: what is paid in and what is charged adds up to the last count, and the supply follows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acting_objects import refused
from openami.protocols.dlms.apdus.descriptors import CaptureObject
from openami.protocols.dlms.apdus.results import AccessResult
from openami.protocols.dlms.encoding.axdr import BitString, Data, Tag, array, decode_plain, structure
from openami.protocols.dlms.interface_classes.account import Account
from openami.protocols.dlms.interface_classes.charge import Charge
from openami.protocols.dlms.interface_classes.credit import Credit, CreditStatus
from openami.protocols.dlms.interface_classes.interface_object import InterfaceObject
from openami.protocols.dlms.interface_classes.timeline import Timeline
from openami.protocols.dlms.interface_classes.token_gateway import Token, TokenGateway, TokenStatus
from openami.quantities.errors import ProtectionError, RemoteProtocolError
from openami.quantities.obis import ObisCode

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
NOTHING = Data(Tag.INTEGER, 0)
ENERGY = ObisCode(1, 0, 1, 8, 0)
ACCOUNT = ObisCode(0, 0, 19, 0, 0)
TOKENS, EMERGENCY = ObisCode(0, 0, 19, 10, 0), ObisCode(0, 0, 19, 10, 1)
BY_ENERGY, BY_DAY, DEBT = (ObisCode(0, 0, 19, 20, place) for place in range(3))
GATEWAY = ObisCode(0, 0, 19, 40, 0)


def octets(value: bytes) -> Data:
    return Data(Tag.OCTET_STRING, value)


def amount(value: int) -> Data:
    return Data(Tag.DOUBLE_LONG, value)


def bits(text: str) -> Data:
    return Data(Tag.BIT_STRING, BitString(len(text), bytes((int(text.ljust(8, "0"), 2),))))


def unit_charge(per_unit: dict[bytes, int], commodity_scale: int, price_scale: int) -> Data:
    return structure(
        structure(Data(Tag.INTEGER, commodity_scale), Data(Tag.INTEGER, price_scale)),
        structure(Data(Tag.LONG_UNSIGNED, 3), octets(ENERGY.to_bytes()), Data(Tag.INTEGER, 2)),
        array(structure(octets(name), Data(Tag.LONG, price)) for name, price in per_unit.items()),
    )


class Vending:
    """Tokens are ``number:amount`` with a mark of authenticity."""

    def verify(self, token: bytes) -> Token:
        head, _, mark = token.partition(b"!")
        number, colon, worth = head.partition(b":")
        if not colon:
            raise RemoteProtocolError("no token")
        if mark != b"ok":
            raise ProtectionError("not of this vendor")
        return Token(int(number), int(worth), (b"credit",))


class Household:
    """Energy in Wh; money in cents (currency scale -2); 0.25 a kWh or 0.40 in tariff "peak"; 0.10 a day."""

    def __init__(self) -> None:
        self.present = BEGIN
        self.energy = {BEGIN: 0}
        self.tariff = b""
        self.supplied: list[bool] = []
        self.objects: dict[ObisCode, InterfaceObject] = {}
        self.account = Account(
            ACCOUNT,
            self.objects.get,
            self.supplied.append,
            self.now,
            preset={
                2: structure(Data(Tag.ENUM, 2), Data(Tag.ENUM, 1)),
                9: array(octets(name.to_bytes()) for name in (TOKENS, EMERGENCY)),
                10: array(octets(name.to_bytes()) for name in (BY_ENERGY, BY_DAY, DEBT)),
                15: structure(Data(Tag.UTF8_STRING, "EUR"), Data(Tag.INTEGER, -2), Data(Tag.ENUM, 2)),
            },
        )
        self.tokens = self.credit(TOKENS, 0, 1, "00001", 0, warning=200)
        self.emergency = self.credit(EMERGENCY, 2, 2, "01100", 500, offered_at=100)
        self.by_energy = self.charge(BY_ENERGY, 0, unit_charge({b"": 25, b"peak": 40}, 3, -2), 900)
        self.by_day = self.charge(BY_DAY, 1, unit_charge({b"": 10}, 0, -2), 86_400)
        self.debt = self.charge(DEBT, 2, unit_charge({b"": 0}, 0, 0), 0, configuration="10", proportion=2500)
        self.gateway = TokenGateway(GATEWAY, Vending(), self.account.pay_in, self.now)
        for item in (self.account, self.gateway):
            self.objects[item.logical_name] = item
        self.timeline = Timeline(
            lambda: self.present, BEGIN, (self.by_energy, self.by_day, self.debt, self.account)
        )
        self.debt.invoke(5, amount(0))
        self.account.invoke(1, NOTHING)

    def now(self) -> datetime:
        return self.timeline.now() if hasattr(self, "timeline") else self.present

    def credit(
        self,
        name: ObisCode,
        kind: int,
        priority: int,
        configuration: str,
        preset: int,
        warning: int = 0,
        offered_at: int = 0,
    ) -> Credit:
        made = Credit(
            name,
            lambda: self.account.refresh(),
            preset={
                3: Data(Tag.ENUM, kind),
                4: Data(Tag.UNSIGNED, priority),
                5: amount(warning),
                7: bits(configuration),
                9: amount(preset),
                10: amount(offered_at),
            },
        )
        self.objects[name] = made
        return made

    def charge(
        self,
        name: ObisCode,
        kind: int,
        price: Data,
        period: int,
        configuration: str = "00",
        proportion: int = 0,
    ) -> Charge:
        made = Charge(
            name,
            self.commodity,
            lambda taken: self.account.take(taken, name),
            self.now,
            currency_scale=lambda: self.account.currency_scale,
            collects=lambda: self.account.collects(name),
            tariff=lambda: self.tariff,
            preset={
                3: Data(Tag.ENUM, kind),
                4: Data(Tag.UNSIGNED, 1),
                5: price,
                6: price,
                8: Data(Tag.DOUBLE_LONG_UNSIGNED, period),
                9: bits(configuration),
                13: Data(Tag.LONG_UNSIGNED, proportion),
            },
        )
        self.objects[name] = made
        return made

    def commodity(self, source: CaptureObject, at: datetime) -> tuple[int, int] | None:
        """1000 Wh an hour."""
        assert source.logical_name == ENERGY
        return int((at - BEGIN).total_seconds()) * 1000 // 3600, 0

    def live(self, **time: int) -> None:
        self.present += timedelta(**time)
        self.timeline.settle()

    def enter(self, number: int, worth: int) -> None:
        self.gateway.invoke(1, octets(b"%d:%d!ok" % (number, worth)))


def test_consumption_and_standing_charges_are_exact_to_the_cent() -> None:
    home = Household()
    home.enter(1, 10_000)
    home.live(hours=36)
    # 36 kWh at 25 cents = 900; one midnight = 10.
    assert home.tokens.amount == 10_000 - 900 - 10
    assert decode_plain(home.by_energy.read(2)) == 900
    assert decode_plain(home.by_day.read(2)) == 10
    assert decode_plain(home.by_energy.read(11)) == 7  # 250 Wh are 6.25 cents: 6, 6, 6, 7
    assert home.account.available_credit == 9090


@pytest.mark.parametrize("steps", [1, 5, 144, 999])
def test_money_does_not_depend_on_when_the_meter_is_looked_at(steps: int) -> None:
    home = Household()
    home.enter(1, 10_000)
    for _ in range(steps):
        home.present += timedelta(hours=36) / steps
        home.timeline.settle()
    home.present = BEGIN + timedelta(hours=36)
    home.timeline.settle()
    assert home.tokens.amount == 9090


def test_the_tariff_in_force_and_a_new_price_apply_from_their_instants() -> None:
    home = Household()
    home.enter(1, 10_000)
    home.live(hours=1)
    home.tariff = b"peak"
    home.live(hours=1)
    assert home.tokens.amount == 10_000 - 25 - 40
    home.tariff = b""
    home.by_energy.write(6, unit_charge({b"": 100}, 3, -2))
    stamp = bytes.fromhex("07e90101ff 03000000 0000ff")  # 03:00 UTC
    home.by_energy.write(7, octets(stamp))
    home.live(hours=2)
    assert home.tokens.amount == 10_000 - 25 - 40 - 25 - 100
    home.by_energy.invoke(1, array([structure(octets(b""), Data(Tag.LONG, 1))]))
    assert home.tokens.amount == 10_000 - 190
    home.live(minutes=10)  # a sixth of a kWh at 100 is collected before the price changes
    home.by_energy.invoke(2, NOTHING)
    assert home.tokens.amount == 10_000 - 190 - 16


def test_supply_ends_with_the_credit_and_emergency_credit_is_paid_back_first() -> None:
    home = Household()
    home.enter(1, 100)
    assert home.supplied[-1] is True
    assert home.emergency.status is CreditStatus.SELECTABLE  # at the threshold of 100
    # In credit, low (below 200), the next credit is selectable; thresholds are those of the credits.
    assert home.account.read(4) == bytes.fromhex("0408d0")
    assert (decode_plain(home.account.read(16)), decode_plain(home.account.read(17))) == (200, 100)
    home.live(hours=4)
    assert (home.tokens.amount, home.tokens.status) == (0, CreditStatus.EXHAUSTED)
    assert home.supplied[-1] is False
    assert decode_plain(home.account.read(4)) == BitString(
        8, bytes((0b00010010,))
    )  # selectable, out of credit
    home.live(hours=1)  # what the meter itself used after that is a debt
    assert home.tokens.amount == -25
    assert home.account.read(6) == bytes.fromhex("05ffffffe7")  # minus 25: what is to be paid in
    home.emergency.invoke(3, NOTHING)
    assert home.supplied[-1] is True
    assert home.emergency.status is CreditStatus.IN_USE
    assert home.account.available_credit == 500
    assert home.account.read(4) == bytes.fromhex("040884")  # in credit, a selectable credit in use
    assert (decode_plain(home.account.read(16)), decode_plain(home.account.read(17))) == (0, -(1 << 31))
    home.live(hours=8)
    assert (home.tokens.amount, home.emergency.amount) == (-25, 300)
    assert refused(home.emergency.invoke, 3, NOTHING) is AccessResult.TEMPORARY_FAILURE
    home.enter(2, 1000)  # 200 back into the emergency credit, the rest into the tokens
    assert (home.emergency.amount, home.tokens.amount) == (500, -25 + 800)
    assert home.tokens.status is CreditStatus.IN_USE
    assert decode_plain(home.account.read(3)) == 1
    assert home.account.available_credit == 775


def test_a_debt_takes_its_part_of_every_token_until_it_is_paid() -> None:
    home = Household()
    home.debt.invoke(5, amount(300))
    assert decode_plain(home.account.read(8)) == 300
    home.enter(1, 1000)
    assert (home.debt.remaining, home.tokens.amount) == (50, 750)
    home.enter(2, 1000)
    assert (home.debt.remaining, home.tokens.amount) == (0, 1700)
    home.enter(3, 1000)
    assert home.tokens.amount == 2700
    assert decode_plain(home.debt.read(2)) == 300


def test_a_token_is_credited_once_and_only_when_it_is_one() -> None:
    home = Household()

    def status() -> TokenStatus:
        plain = decode_plain(home.gateway.read(6))
        assert isinstance(plain, tuple)
        assert isinstance(plain[0], int)
        return TokenStatus(plain[0])

    home.enter(5, 1000)
    assert status() is TokenStatus.EXECUTED
    for token, expected in (
        (b"5:1000!ok", TokenStatus.VALIDATION_FAILURE),
        (b"6:1000!no", TokenStatus.AUTHENTICATION_FAILURE),
        (b"rubbish", TokenStatus.FORMAT_FAILURE),
        (b"7:-5!ok", TokenStatus.EXECUTION_FAILURE),
        (b"8:3000000000!ok", TokenStatus.EXECUTION_FAILURE),
    ):
        assert refused(home.gateway.invoke, 1, octets(token)) is AccessResult.OTHER_REASON
        assert status() is expected
        assert home.tokens.amount == 1000
    home.enter(4, 1)
    for number in range(100, 200):
        home.enter(number, 1)
    assert refused(home.gateway.invoke, 1, octets(b"4:1!ok")) is AccessResult.OTHER_REASON  # long forgotten
    assert home.tokens.amount == 1101
    assert refused(home.gateway.invoke, 1, octets(b"")) is AccessResult.TYPE_UNMATCHED


def test_a_closed_account_takes_no_tokens_and_charges_nothing() -> None:
    home = Household()
    home.enter(1, 1000)
    home.live(hours=1)
    home.account.invoke(2, NOTHING)
    home.live(hours=10)
    assert home.tokens.amount == 975
    assert refused(home.gateway.invoke, 1, octets(b"2:1!ok")) is AccessResult.OTHER_REASON
    assert refused(home.account.invoke, 1, NOTHING) is AccessResult.TEMPORARY_FAILURE
    home.account.invoke(3, NOTHING)
    assert home.tokens.amount == 0


def test_amounts_set_by_the_head_end_are_exact_and_bounded() -> None:
    home = Household()
    assert home.tokens.invoke(2, amount(70)) == amount(0)
    home.tokens.invoke(1, amount(-20))
    assert home.tokens.amount == 50
    home.tokens.invoke(2, amount((1 << 31) - 1))
    assert refused(home.tokens.invoke, 1, amount(1)) is AccessResult.OTHER_REASON
    assert home.tokens.amount == (1 << 31) - 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("live", "pay", "emergency", "peak")), st.integers(1, 3000)), max_size=25
    )
)
def test_no_money_is_made_or_lost_whatever_happens(deeds: list[tuple[str, int]]) -> None:
    home = Household()
    paid = lent = number = 0
    for deed, size in deeds:
        if deed == "live":
            home.live(minutes=size)
        elif deed == "pay":
            number += 1
            paid += size
            home.enter(number, size)
        elif deed == "peak":
            home.tariff = b"peak" if home.tariff == b"" else b""
        elif home.emergency.status is CreditStatus.SELECTABLE:
            lent += 500 - home.emergency.amount
            home.emergency.invoke(3, NOTHING)
    charged = sum(int(str(decode_plain(item.read(2)))) for item in (home.by_energy, home.by_day, home.debt))
    assert home.tokens.amount + home.emergency.amount == paid + lent - charged
    assert (home.supplied[-1] if home.supplied else False) is (home.account.available_credit > 0)


@pytest.mark.parametrize(
    ("configuration", "emergency", "tokens"),
    [
        ((), 500, 775),  # nothing said: what was used of the emergency credit first
        (((TOKENS, 100),), 300, 975),  # all of the token to the tokens: nothing is left to be paid back
        (((TOKENS, 90),), 400, 875),
        (((EMERGENCY, 5), (TOKENS, 95)), 350, 925),
        (((EMERGENCY, 50),), 500, 775),  # what a credit does not take is of the rest
    ],
)
def test_a_token_is_divided_by_the_proportions_and_the_rest_by_priority(
    configuration: tuple[tuple[ObisCode, int], ...], emergency: int, tokens: int
) -> None:
    home = Household()
    home.enter(1, 100)
    home.live(hours=5)
    home.emergency.invoke(3, NOTHING)
    home.live(hours=8)
    assert (home.tokens.amount, home.emergency.amount) == (-25, 300)
    parts = (structure(octets(name.to_bytes()), Data(Tag.UNSIGNED, part)) for name, part in configuration)
    home.account.write(12, array(parts))
    home.enter(2, 1000)
    assert (home.emergency.amount, home.tokens.amount) == (emergency, tokens)


def test_a_charge_is_taken_from_the_credits_configured_for_it_and_from_no_other() -> None:
    home = Household()
    home.enter(1, 1000)
    home.live(hours=1)

    def rule(credit: ObisCode, charge: ObisCode, how: str) -> Data:
        return structure(octets(credit.to_bytes()), octets(charge.to_bytes()), bits(how))

    home.account.write(11, array([rule(TOKENS, BY_DAY, "000")]))
    home.live(hours=24)
    assert home.tokens.amount == 1000 - 25 - 10  # the day's charge; energy waits for a credit
    home.account.write(11, array([rule(TOKENS, BY_DAY, "000"), rule(TOKENS, BY_ENERGY, "000")]))
    home.live(minutes=15)
    assert home.tokens.amount == 1000 - 10 - 25 - 24 * 25 - 6
    home.tokens.invoke(2, amount(0))
    assert home.supplied[-1] is False
    home.live(hours=48)
    assert home.tokens.amount == 0  # not collected while there is no supply
    home.account.write(11, array([rule(TOKENS, BY_DAY, "100")]))
    home.live(hours=24)
    assert home.tokens.amount == -10  # but where that is configured


def test_a_credit_by_time_is_set_to_its_preset_when_its_period_comes() -> None:
    home = Household()
    monthly = home.credit(ObisCode(0, 0, 19, 10, 2), 3, 3, "00000", 700)
    monthly.write(11, octets(bytes.fromhex("ffffff01ff 06000000 8000ff")))  # the first of a month, 06:00
    timeline = Timeline(lambda: home.present, BEGIN, (monthly,))
    seen = []
    for day in (0, 1, 30, 31, 32, 59):
        home.present = BEGIN + timedelta(days=day, hours=7)
        timeline.settle()
        seen.append(monthly.amount)
        monthly.invoke(2, amount(5))
    assert seen == [700, 5, 5, 700, 5, 700]  # 1 January, 1 February, 1 March
    assert home.tokens.due(BEGIN, BEGIN + timedelta(days=99)) is None
