"""Settings: where they come from, who wins, and what is refused in one sentence."""

import os

import pytest
from pydantic import SecretStr, ValidationError

from esm2.errors import SettingsError
from esm2.hosts import is_loopback
from esm2.settings import Settings, load, token_database

SECRETS = ("hunter2-first", "hunter2-second")

#: field -> default; a new knob gets its line here, and a changed default is seen.
DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "model": ("esm2-demo",),
    "device": "auto",
    "ray": "",
    "dtype": "auto",
    "workers": 1,
    "tokens": (),
    "token_database": "",
    "limits_storage": "memory://",
    "cache_mb": 0,
    "cache_url": "",
    "uds": "",
    "root_path": "",
    "trust_proxy": (),
    "allow_host": (),
    "allow_origin": (),
    "max_items": 8,
    "max_residues": 2048,
    "max_body_bytes": 3 << 20,
    "max_connections": 1000,
    "header_seconds": 20,
    "body_seconds": 120,
    "send_seconds": 30,
    "pack_tokens": 4096,
    "queue_tokens": 5_000_000,
    "max_wait_seconds": 1200,
    "timeout_seconds": 1200,
    "hung_seconds": 60,
    "memory_mb": 0,
    "admin_port": 0,
    "admin_host": "127.0.0.1",
    "log_level": "warning",
    "log_format": "text",
    "drain_seconds": 0,
    "grace_seconds": 60,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Set variables; none of this machine's own ESM2_* is there."""
    for name in list(os.environ):
        if name.upper().startswith("ESM2_"):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


# --- where they come from ----------------------------------------------------------------------


def test_the_defaults():
    assert load({}).model_dump() == DEFAULTS


def test_every_knob_is_described():
    assert [n for n, field in Settings.model_fields.items() if not field.description] == []


def test_a_variable_is_read_in_the_type_of_its_field(environment):
    environment("ESM2_PORT", "9000")
    environment("ESM2_DEVICE", "cpu")
    settings = load({})
    assert settings.model_dump() == DEFAULTS | {"port": 9000, "device": "cpu"}


def test_a_flag_wins_over_a_variable_and_one_that_was_not_given_does_not(environment):
    environment("ESM2_PORT", "9000")
    environment("ESM2_MAX_ITEMS", "3")
    environment("ESM2_MODEL", "esm2-8m")
    settings = load({"port": 9001, "max_items": None, "model": ["mine=/a/path"]})
    assert (settings.port, settings.max_items, settings.model) == (9001, 3, ("mine=/a/path",))


def test_settings_do_not_change():
    settings = load({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1
    assert settings.port == 8000


@pytest.mark.parametrize(
    ("written", "models"),
    [
        ("esm2-8m", ("esm2-8m",)),
        ("esm2-8m,mine=/a/b", ("esm2-8m", "mine=/a/b")),
        (" esm2-8m , mine=/a/b ,", ("esm2-8m", "mine=/a/b")),
        ("", ()),
    ],
)
def test_a_variable_with_commas_is_a_list(environment, written, models):
    environment("ESM2_MODEL", written)
    assert load({}).model == models


def test_tokens_are_separated_by_commas(environment):
    environment("ESM2_TOKENS", ", ".join(SECRETS))
    assert tuple(token.get_secret_value() for token in load({}).tokens) == SECRETS


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ESM2_TOKEN", "ESM2_", "esm2_prot", "ESM2_HOSTS"])
def test_an_unknown_variable_is_refused_by_name_and_the_known_ones_are_told(environment, name):
    environment(name, "hunter2")
    with pytest.raises(SettingsError) as caught:
        load({})
    assert str(caught.value).startswith(f"{name} is not a setting")
    assert "ESM2_TOKENS" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_known_variable_is_known_in_any_case(environment):
    environment("esm2_port", "9000")
    assert load({}).port == 9000


def test_an_unknown_flag_is_refused_by_name():
    with pytest.raises(SettingsError, match="prot"):
        load({"prot": 9000})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("port", "-1"),
        ("port", "65536"),
        ("port", "http"),
        ("port", ""),
        ("max_items", "0"),
        ("max_residues", "0"),
        ("max_residues", "1e3"),
        ("max_body_bytes", "1023"),
        ("pack_tokens", "0"),
        ("queue_tokens", "none"),
    ],
)
@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_value_that_cannot_be_is_refused_with_the_name_of_its_flag_or_variable(
    environment, by, name, wrong
):
    if by == "variable":
        environment(f"ESM2_{name.upper()}", wrong)
    with pytest.raises(SettingsError) as caught:
        load({name: wrong} if by == "flag" else {})
    flag, variable = f"--{name.replace('_', '-')}: ", f"ESM2_{name.upper()}: "
    assert str(caught.value).startswith(flag if by == "flag" else variable)
    assert "\n" not in str(caught.value)
    assert caught.value.code == "settings.invalid"


def test_every_field_that_is_wrong_is_named_at_once():
    with pytest.raises(SettingsError) as caught:
        load({"port": -1, "max_items": 0})
    assert "--port: " in str(caught.value)
    assert "--max-items: " in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "wrong", "says"),
    [
        ("allow_host", "http://lab.example", "without scheme, port and path"),
        ("allow_host", "lab.example:80", "without scheme, port and path"),
        ("allow_origin", "*", "is no origin; name each"),
        ("allow_origin", "lab.example", "is no origin; name each"),
        ("allow_origin", "https://lab.example/", "is no origin; name each"),
        ("trust_proxy", "*", "no address .*, no network .*, and not unix"),
        ("trust_proxy", "10.0.0.1/8", "no address"),
        ("root_path", "esm2", "is no path; write it like /esm2"),
    ],
)
def test_what_names_nobody_is_refused(flag, wrong, says):
    with pytest.raises(SettingsError, match=f"(?s)--{flag.replace('_', '-')}: .*{says}"):
        load({flag: wrong if flag == "root_path" else [wrong]})


# --- who can reach it --------------------------------------------------------------------------

LOOPBACK = ["127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "localhost"]
PUBLIC = [
    *("0.0.0.0", "::", "192.168.1.5", "10.0.0.1", "128.0.0.1", "fe80::1", "2001:db8::1"),
    *("example.org", "localhost.example.org", "127.0.0.1.example.org", "", "127.1", " 127.0.0.1"),
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_loopback_address_needs_no_tokens(host):
    assert is_loopback(host)
    assert load({"host": host}).host == host


@pytest.mark.parametrize("host", PUBLIC)
def test_any_other_address_is_refused_without_tokens(host):
    assert not is_loopback(host)
    with pytest.raises(SettingsError) as caught:
        load({"host": host})
    assert str(caught.value).startswith(f"--host: {host} can be reached")
    assert "no tokens; set ESM2_TOKENS" in str(caught.value)


def test_a_public_address_in_a_variable_is_told_by_its_variable(environment):
    environment("ESM2_HOST", "0.0.0.0")
    with pytest.raises(SettingsError, match=r"^ESM2_HOST: 0\.0\.0\.0 can be reached"):
        load({})


@pytest.mark.parametrize("name", ["ESM2_TOKENS", "ESM2_TOKEN_DATABASE"])
@pytest.mark.parametrize("blank", ["", " ", ",", " , ,"])
def test_a_blank_secret_does_not_leave_a_server_open(environment, name, blank):
    environment(name, blank)
    with pytest.raises(SettingsError, match=f"^{name} is set and empty.* unset it"):
        load({})
    with pytest.raises(SettingsError, match=f"^{name} is set and empty"):
        load({"token_database": "sqlite:////a.db"})


def test_a_blank_token_database_does_not_become_another_one(environment):
    environment("ESM2_TOKEN_DATABASE", "")
    with pytest.raises(SettingsError, match=r"^ESM2_TOKEN_DATABASE is set and empty"):
        token_database(None)
    assert token_database("sqlite:////a.db") == "sqlite:////a.db"


@pytest.mark.parametrize(
    "wrong", ["hun ter2", "hunter2\u00e9", "hunter\t2", "hunter2\x7f", "\u200bx"]
)
def test_a_token_that_no_client_could_send_is_refused_without_showing_it(environment, wrong):
    environment("ESM2_TOKENS", f"{SECRETS[0]},{wrong}")
    with pytest.raises(SettingsError, match=r"^ESM2_TOKENS: token 2 of 2 has") as caught:
        load({})
    assert "hunter" not in f"{caught.value} {caught.value.__cause__}"


# --- what Kubernetes sets ----------------------------------------------------------------------

SERVICE = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "8000",
    "SERVICE_PORT_HTTP": "8000",
    "PORT": "tcp://10.0.0.1:8000",
    "PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "PORT_8000_TCP_PROTO": "tcp",
    "PORT_8000_TCP_PORT": "8000",
    "PORT_8000_TCP_ADDR": "fd00::1",
}


@pytest.mark.parametrize("service", ["ESM2", "ESM2_ADMIN", "ESM2_BIG_ONE"])
def test_the_variables_of_a_service_of_our_name_are_ignored_and_said_in_one_line(
    environment, service
):
    said = []
    for name, value in SERVICE.items():
        environment(f"{service}_{name}", value)
    assert load({}, said.append).model_dump() == DEFAULTS
    assert load({"port": 9001}).port == 9001
    [line] = said
    assert all(f"{service}_{name}" in line for name in SERVICE)
    assert "Kubernetes" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ESM2_PROT", "tcp://10.0.0.1:8000"),
        ("ESM2_SERVICE_HOST", "example.org"),
        ("ESM2_SERVICE_PORT", "http"),
        ("ESM2_SERVICE", "10.0.0.1"),
        ("ESM2_PORT_8000", "tcp://10.0.0.1:8000"),
        ("ESM2_PORT_8000_TCP", "8000"),
        ("ESM2_HOSTS", "10.0.0.1"),
    ],
)
def test_a_mistyped_setting_is_not_taken_for_one_of_those(environment, name, value):
    environment(name, value)
    with pytest.raises(SettingsError, match=f"^{name} is not a setting"):
        load({})


def test_a_port_of_our_own_beside_them_counts(environment):
    environment("ESM2_SERVICE_HOST", "10.0.0.1")
    environment("ESM2_PORT", "9000")
    assert load({}).port == 9000


@pytest.mark.parametrize("host", PUBLIC)
def test_any_address_is_accepted_with_tokens(environment, host):
    environment("ESM2_TOKENS", "hunter2-first")
    assert load({"host": host}).tokens == (SecretStr("hunter2-first"),)


# --- secrets -----------------------------------------------------------------------------------


def test_tokens_are_in_no_text_of_the_settings(environment):
    environment("ESM2_TOKENS", ",".join(SECRETS))
    settings = load({})
    texts = [repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())]
    assert [text for text in texts if "hunter2" in text] == []


@pytest.mark.parametrize(
    "flags", [{"port": -1}, {"prot": 1}, {"host": "0.0.0.0", "max_items": 0}, {"model": 5}]
)
def test_tokens_are_in_no_error_nor_in_what_caused_it(environment, flags):
    environment("ESM2_TOKENS", ",".join(SECRETS))
    with pytest.raises(SettingsError) as caught:
        load(flags)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__


def test_a_token_of_the_wrong_type_is_not_told():
    with pytest.raises(SettingsError) as caught:
        load({"tokens": [20250101]})
    assert "20250101" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("name", ["token_database", "limits_storage", "cache_url"])
def test_a_password_in_a_flag_is_refused_without_showing_it(name):
    with pytest.raises(
        SettingsError, match=r"^--[a-z-]+ has a password in it.* set ESM2_"
    ) as caught:
        load({name: f"postgresql://me:{SECRETS[0]}@host/db"})
    assert SECRETS[0] not in str(caught.value)
    assert load({name: "redis://host:6379/0"})


def test_a_token_database_opens_a_public_address_too():
    assert load({"host": "0.0.0.0", "token_database": "sqlite:////a.db"}).host == "0.0.0.0"


def test_on_ray_the_cluster_says_how_many_workers_there_are():
    assert load({"ray": "auto"}).ray == "auto"
    with pytest.raises(SettingsError, match="--ray: each device of the cluster has one worker"):
        load({"ray": "auto", "workers": 2})
