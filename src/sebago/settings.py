"""Every setting: its name with the unit, its default, one sentence.

Read once at start from `sebago.toml` (`--config`), then `SEBAGO_...` in the environment, then the
command line; the later wins. Frozen: packages below `cli` and `serve` take values, not `Settings`.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

MIB = 1024 * 1024
GIB = 1024 * MIB


class Settings(BaseSettings):
    """All settings of one deployment."""

    model_config = SettingsConfigDict(env_prefix="SEBAGO_", frozen=True, extra="ignore")

    data: Path = Field(Path("sebago-data"), description="Folder of journal, index and ledger.")
    database_url: str = Field(
        "", description="SQLAlchemy URL of the index; empty: SQLite under `data`."
    )

    ae_title: str = Field("SEBAGO", description="Our application entity title.")
    http: str = Field("127.0.0.1:8080", description="HOST:PORT of the HTTP door.")
    dimse: str = Field("127.0.0.1:11112", description="HOST:PORT of the DICOM door.")
    workers: int = Field(
        max(1, min(os.cpu_count() or 1, 8)),
        description="Receiving processes for DICOM, and worker processes for HTTP.",
        ge=1,
    )
    public_url: str = Field(
        "", description="Address that clients see; empty: taken from each request's Host."
    )

    dimse_open: str = Field(
        "", description="Accept any calling AE title as this facility; for a closed bench only."
    )
    dimse_check_called_ae: bool = Field(
        False, description="Refuse associations whose called AE title is not ours."
    )
    dimse_lenient_hierarchy: bool = Field(
        False, description="Answer queries that name no unique key above their level."
    )
    dimse_associations_max: int = Field(
        2000, description="Open associations per receiving process; more are refused for now."
    )
    dimse_associate_timeout_s: float = Field(
        30.0, description="From connect to a whole A-ASSOCIATE-RQ, and for a release to finish."
    )
    dimse_pdu_timeout_s: float = Field(60.0, description="From a PDU's first byte to its last.")
    dimse_idle_timeout_s: float = Field(
        7200.0, description="An association without traffic is closed after this; 2 h."
    )
    dimse_pdu_bytes_max: int = Field(
        131072, description="Longest PDU that we ask peers to send.", ge=4096
    )

    max_instance_bytes: int = Field(
        64 * GIB, description="Largest data set that is taken; larger ones are refused."
    )
    max_inflated_bytes: int = Field(
        2 * GIB, description="Where inflating deflated, gzip or zip input stops."
    )
    inline_bytes_max: int = Field(
        8 * MIB, description="Larger data sets stream into a journal segment of their own."
    )
    journal_segment_bytes: int = Field(256 * MIB, description="Size of a journal segment.")
    journal_reserve_bytes: int = Field(
        1 * GIB, description="Free space kept: less than this, and nothing is taken in."
    )
    journal_queue_bytes_max: int = Field(
        512 * MIB, description="Bytes that may wait for the journal's sync in one process."
    )

    query_matches_max: int = Field(
        20_000, description="Most matches that one query lists; more is an error with a reason."
    )
    query_page_default: int = Field(
        1000, description="Studies and series listed where a QIDO request names no limit."
    )
    metadata_cache_bytes: int = Field(
        64 * MIB, description="Ready metadata answers kept in memory by each web worker."
    )

    log_level: str = Field("info", description="debug, info, warning or error.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file."""
        toml = TomlConfigSettingsSource(settings_cls, Path(_config_file()))
        return init_settings, env_settings, toml

    @property
    def journal_dir(self) -> Path:
        """Where journal segments lie."""
        return self.data / "journal"

    @property
    def run_dir(self) -> Path:
        """What lives as long as a running server: metrics, locks."""
        return self.data / "run"


def _config_file() -> str:
    return os.environ.get("SEBAGO_CONFIG", "sebago.toml")


def load(**overrides: object) -> Settings:
    """Read the settings; `overrides` are what the command line gave (None: not given)."""
    return Settings.model_validate(
        {name: value for name, value in overrides.items() if value is not None}
    )
