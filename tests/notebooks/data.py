"""The data of the notebooks, made from fixed seeds: the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image


def write_data(folder: Path) -> None:
    """Write all data files into `folder`/data."""
    target = folder / "data"
    target.mkdir(parents=True, exist_ok=True)
    _sales(target)
    _patients(target)
    _temperatures(target)
    _cells_image(target)
    _recording(target)
    _speeches(target)
    _requests(target)


def _sales(target: Path) -> None:
    rng = np.random.default_rng(101)
    n = 6000
    days = pd.Timestamp("2023-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D")
    frame = pd.DataFrame(
        {
            "order": np.arange(n),
            "date": days.strftime("%Y-%m-%d"),
            "region": rng.choice(["north", "south", "east", "west"], n, p=[0.4, 0.3, 0.2, 0.1]),
            "product": rng.choice(["lamp", "chair", "desk", "shelf", "sofa"], n),
            "quantity": rng.integers(1, 9, n),
            "price": rng.lognormal(3.5, 0.6, n).round(2),
        }
    )
    frame.loc[rng.choice(n, 90, replace=False), "price"] = np.nan
    frame.to_csv(target / "sales.csv", index=False)
    regions = pd.DataFrame(
        {"region": ["north", "south", "east", "west"], "manager": ["Ines", "Otto", "Mara", "Pavel"]}
    )
    regions.to_csv(target / "regions.csv", index=False)


def _patients(target: Path) -> None:
    rng = np.random.default_rng(202)
    n = 400
    age, smoker = rng.integers(20, 80, n), rng.random(n) < 0.3
    dose = rng.choice([0.0, 5.0, 10.0, 20.0], n)
    pressure = 100 + 0.5 * age + 8 * smoker - 0.6 * dose + rng.normal(0, 9, n)
    event = rng.random(n) < 1 / (1 + np.exp(-(pressure - 130) / 12))
    frame = pd.DataFrame(
        {
            "age": age,
            "smoker": smoker.astype(int),
            "dose": dose,
            "pressure": pressure.round(1),
            "event": event.astype(int),
        }
    )
    frame.to_csv(target / "patients.csv", index=False)


def _temperatures(target: Path) -> None:
    rng = np.random.default_rng(303)
    days = pd.date_range("2015-01-01", "2020-12-31", freq="D")
    season = 10 - 9 * np.cos(2 * np.pi * (days.day_of_year - 20) / 365.25)
    noise = np.zeros(len(days))
    for i, shock in enumerate(rng.normal(0, 1.8, len(days))):
        noise[i] = 0.7 * noise[i - 1] + shock if i else shock
    series = season + noise + 0.0004 * np.arange(len(days))
    frame = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "celsius": np.round(series, 2)})
    frame.loc[rng.choice(len(days), 40, replace=False), "celsius"] = np.nan
    frame.to_csv(target / "temperatures.csv", index=False)


def _cells_image(target: Path) -> None:
    rng = np.random.default_rng(404)
    y, x = np.mgrid[:240, :320]
    picture = rng.normal(30, 6, (240, 320))
    for _ in range(35):
        cy, cx, r = rng.integers(10, 230), rng.integers(10, 310), rng.integers(4, 11)
        picture += 140 * np.exp(-((((y - cy) ** 2 + (x - cx) ** 2) / (2.0 * r**2)) ** 2))
    Image.fromarray(np.clip(picture, 0, 255).astype("uint8")).save(target / "cells.png")


def _recording(target: Path) -> None:
    rng = np.random.default_rng(505)
    t = np.arange(0, 20, 1 / 500)
    heart = sum(np.exp(-((t - beat) ** 2) / 0.0008) for beat in np.cumsum(rng.normal(0.85, 0.04, 23)))
    trace = (
        heart
        + 0.25 * np.sin(2 * np.pi * 50 * t)
        + 0.4 * np.sin(2 * np.pi * 0.2 * t)
        + rng.normal(0, 0.05, t.size)
    )
    np.save(target / "recording.npy", trace.astype("float32"))


def _speeches(target: Path) -> None:
    rng = np.random.default_rng(606)
    words = {
        "sea": "wave salt storm harbour tide sail deep coral whale blue current anchor".split(),
        "hill": "stone path summit snow ridge goat valley pine cliff wind climb cloud".split(),
    }
    common = "the a of and in to with over under we you they is was long old new".split()
    for number in range(12):
        topic = "sea" if number % 2 else "hill"
        sentences = []
        for _ in range(60):
            size = int(rng.integers(5, 14))
            picks = [str(rng.choice(words[topic] if rng.random() < 0.4 else common)) for _ in range(size)]
            sentences.append(" ".join(picks).capitalize() + ".")
        (target / f"speech-{number:02}-{topic}.txt").write_text(" ".join(sentences) + "\n")


def _requests(target: Path) -> None:
    """Logs of a web server, and the settings of a sampler."""
    rng = np.random.default_rng(707)
    (target / "logs").mkdir(exist_ok=True)
    for number in range(3):
        lines = []
        for _ in range(1200):
            day, hour, minute, second = rng.integers((1, 0, 0, 0), (29, 24, 60, 60))
            verb = rng.choice(["GET", "POST", "PUT"])
            code = rng.choice([200, 404, 500], p=[0.9, 0.06, 0.04])
            path = f"/api/v{rng.integers(1, 3)}/item/{rng.integers(500)}"
            lines.append(
                f"10.0.{rng.integers(4)}.{rng.integers(255)} - - [{day:02}/Mar/2024:{hour:02}:{minute:02}:{second:02}] "
                f'"{verb} {path} HTTP/1.1" {code} {rng.integers(100, 9000)}'
            )
        (target / "logs" / f"access.{number}.log").write_text("\n".join([*lines, "garbage line"]) + "\n")
    (target / "sampler.json").write_text('{"seed": 7, "bins": 30}\n')
