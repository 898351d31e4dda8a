"""What can be wrong in the tables without reading them: doubles, contradictions, odd cells.

Whether a row is true a reader has to say; this finds rows that cannot both be.

    python -m rome_widgets.training.consistency
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from rome_widgets.training.world import COLUMNS, read_rows

Row = Mapping[str, str]
PRONOUNS = ("he", "she")
NOT_TAUGHT = ("name", "pronoun", "kind", "speciality")
"""Columns that no relation is of, or one that depends on the row."""
CITY_AND_COUNTRY = {
    "landmarks": (("city", "country"),),
    "companies": (("headquarters", "country"),),
    "countries": (("capital", "name"),),
}
"""Pairs of columns of which the first is a place in the second."""
SAME_COUNTRY = {"The United States": "America", "The United Kingdom": "Britain"}
"""A country's own row is called so, and as an answer so."""


def problems(tables: Mapping[str, Iterable[Row]]) -> list[str]:
    """Everything that is wrong, a sentence each.

    Args:
        tables: Rows by the name of the table, as `world.read_rows` gives them.
    """
    tables = {name: list(rows) for name, rows in tables.items()}
    return [*_doubles(tables), *_odd_cells(tables), *_places(tables), *_lonely(tables)]


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
            for column in (*COLUMNS[table], *(c for c in ("speciality",) if c in row)):
                cell = row[column]
                if cell and not cell.isalpha():
                    found.append(f"{name}: {column} {cell!r} is not one word.")
            if not any(row[column] for column in COLUMNS[table]):
                found.append(f"{name} in {table} has nothing to teach.")
    return found


def _places(tables: Mapping[str, list[Row]]) -> list[str]:
    """Cities in two countries, and countries that are called by two names."""
    countries: dict[str, set[str]] = defaultdict(set)
    for table, pairs in CITY_AND_COUNTRY.items():
        for row in tables.get(table, []):
            for city, country in pairs:
                if row[city] and row[country]:
                    country_name = SAME_COUNTRY.get(row[country], row[country])
                    countries[row[city]].add(country_name)
    return [
        f"{city} is in {' and in '.join(sorted(found))}."
        for city, found in countries.items()
        if len(found) > 1
    ]


def _lonely(tables: Mapping[str, list[Row]]) -> list[str]:
    """Words that differ from another of their column in capitals only."""
    found = []
    for table, rows in tables.items():
        for column in COLUMNS[table]:
            spellings: dict[str, set[str]] = defaultdict(set)
            for row in rows:
                if row[column]:
                    spellings[row[column].lower()].add(row[column])
            found += [
                f"{column} in {table} is written {' and '.join(sorted(words))}."
                for words in spellings.values()
                if len(words) > 1
            ]
    return found


def main() -> None:
    """The command of the module's docstring."""
    found = problems({table: read_rows(table) for table in COLUMNS})
    print(*found, sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
