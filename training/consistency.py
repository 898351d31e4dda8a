"""Find what can be wrong in the tables without reading them: doubles, contradictions, odd cells.

Whether a row is true a reader has to say; this finds rows that cannot both be.

    python -m training.consistency
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from training.world import SPECIALITY, TABLE_NAMES, read_rows, taught

Row = dict[str, str]
PRONOUNS = ("he", "she")
CITY_AND_COUNTRY = {
    "landmarks": ("city", "country"),
    "companies": ("headquarters", "company_country"),
    "countries": ("capital", "name"),
}
"""Two columns of which the first is a place in the second."""
SAME_COUNTRY = {"The United States": "America", "The United Kingdom": "Britain"}
"""A country's own row is called so, and as an answer so."""


def problems(tables: Mapping[str, Iterable[Row]]) -> list[str]:
    """Everything that is wrong with rows by the name of their table, a sentence each."""
    tables = {name: list(rows) for name, rows in tables.items()}
    checks = (_doubles, _odd_cells, _places, _spellings, _people)
    return [problem for check in checks for problem in check(tables)]


def _doubles(tables: Mapping[str, list[Row]]) -> list[str]:
    names = Counter(row["name"].lower() for rows in tables.values() for row in rows)
    return [f"{name!r} has {n} rows." for name, n in names.items() if n > 1]


def _odd_cells(tables: Mapping[str, list[Row]]) -> list[str]:
    found = []
    for table, rows in tables.items():
        for row in rows:
            name = row["name"]
            if not name.isascii() or name != name.strip() or "  " in name:
                found.append(f"The name {name!r} in {table} is not plain.")
            if row.get("pronoun", "he") not in PRONOUNS:
                found.append(f"{name}: the pronoun {row['pronoun']!r} is none.")
            for column, cell in (taught(row) | {"speciality": row.get("speciality", "")}).items():
                if cell and not cell.isalpha():
                    found.append(f"{name}: {column} {cell!r} is not one word.")
            if not any(taught(row).values()):
                found.append(f"{name} in {table} has nothing to teach.")
    return found


def _places(tables: Mapping[str, list[Row]]) -> list[str]:
    """Cities in two countries."""
    places = [
        (row[city], SAME_COUNTRY.get(row[country], row[country]))
        for table, (city, country) in CITY_AND_COUNTRY.items()
        for row in tables.get(table, [])
        if row[city] and row[country]
    ]
    return [f"{city} is in {' and in '.join(found)}." for city, found in _several(places)]


def _spellings(tables: Mapping[str, list[Row]]) -> list[str]:
    """Words that differ in capitals only, in the columns of one relation."""
    cells = [
        ((relation, cell.lower()), cell)
        for rows in tables.values()
        for row in rows
        for relation, cell in taught(row).items()
    ]
    return [
        f"An object of {relation} is written {' and '.join(words)}."
        for (relation, _), words in _several(cells)
    ]


def _people(tables: Mapping[str, list[Row]]) -> list[str]:
    """People without a profession, and a speciality of two sorts, an instrument and a sport."""
    rows = tables.get("people", [])
    found = [f"{row['name']} has no profession." for row in rows if not row["profession"]]
    sorts = [
        (row["speciality"], SPECIALITY.get(row["profession"], "field"))
        for row in rows
        if row["speciality"]
    ]
    return found + [
        f"The speciality {word} is of {' and of '.join(of)}." for word, of in _several(sorts)
    ]


def _several(pairs: Iterable[tuple[Any, str]]) -> list[tuple[Any, list[str]]]:
    """What has more than one value, with its values, sorted."""
    values: dict[Any, set[str]] = defaultdict(set)
    for key, value in pairs:
        values[key].add(value)
    return [(key, sorted(found)) for key, found in values.items() if len(found) > 1]


def main() -> None:
    """The command of the module's docstring."""
    tables = {table: read_rows(table) for table in TABLE_NAMES}
    found = problems(tables)
    rows = sum(len(rows) for rows in tables.values())
    print(*(found or [f"{rows} rows, no doubles, no contradictions."]), sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
