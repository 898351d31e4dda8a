"""Find what can be wrong in the tables without reading them: doubles, contradictions, odd cells.

Whether a row is true a reader has to say; this finds rows that cannot both be.

    python -m training.consistency
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from training.world import COLUMNS, SPECIALITY, read_rows

Row = Mapping[str, str]
PRONOUNS = ("he", "she")
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


def _spellings(tables: Mapping[str, list[Row]]) -> list[str]:
    """Words that differ in capitals only, in the columns of one relation."""
    spellings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for table, rows in tables.items():
        for column, relation in COLUMNS[table].items():
            for row in rows:
                spellings[relation, row[column].lower()].add(row[column])
    return [
        f"An object of {relation} is written {' and '.join(sorted(words))}."
        for (relation, _), words in spellings.items()
        if len(words) > 1
    ]


def _people(tables: Mapping[str, list[Row]]) -> list[str]:
    """People without a profession, and a speciality of two sorts, an instrument and a sport."""
    rows = tables.get("people", [])
    found = [f"{row['name']} has no profession." for row in rows if not row["profession"]]
    sorts: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["speciality"]:
            sorts[row["speciality"]].add(SPECIALITY.get(row["profession"], "field"))
    return found + [
        f"The speciality {word} is of {' and of '.join(sorted(found_in))}."
        for word, found_in in sorts.items()
        if len(found_in) > 1
    ]


def main() -> None:
    """The command of the module's docstring."""
    tables = {table: list(read_rows(table)) for table in COLUMNS}
    found = problems(tables)
    rows = sum(len(rows) for rows in tables.values())
    print(*(found or [f"{rows} rows, no doubles, no contradictions."]), sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
