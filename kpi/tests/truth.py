"""Expected values of KPIs, computed from the raw rows with nothing but the standard library.

Usage: truth.py FILE... > truth.json: {kpi: {"day[/slice]": value}}, and months for some.
"""

import collections
import datetime
import json
import statistics
import sys

HOUR = datetime.timedelta(hours=1)


def parse(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(datetime.timezone.utc)


def read(paths):
    events, windows = [], {}
    for path in paths:
        for line in open(path, encoding="utf-8"):
            try:
                row = json.loads(line)
                row["at"] = parse(row.get("event_ts") or row["ts"])
            except (ValueError, KeyError):
                continue
            if row.get("schema") == "dns.fleet/1":
                key = (row["ts"], row["window_seconds"], row["vantage"])
                if row["grouping"] == "all" and row["revision"] >= windows.get(key, {"revision": -1})["revision"]:
                    windows[key] = row
            else:
                events.append(row)
    return events, list(windows.values())


def first_of_each(rows, key, order):
    best = {}
    for row in sorted(rows, key=order):
        best.setdefault(key(row), row)
    return list(best.values())


def net(events):
    events = first_of_each(
        events,
        lambda e: (e.get("source_system"), e["event_id"]),
        lambda e: (e["at"], e["business_key"], e["event_type"]),
    )
    events = first_of_each(
        events, lambda e: (e["event_type"], e["business_key"]), lambda e: (e["at"], e["event_id"])
    )
    correctors = collections.defaultdict(list)
    for event in events:
        if event.get("corrects"):
            correctors[event["corrects"]].append(event["business_key"])

    def is_alive(key):
        return not any(is_alive(other) for other in correctors.get(key, []))

    return [event for event in events if is_alive(event["business_key"])]


def main():
    events, windows = read(sys.argv[1:])
    raw_days = sorted({e["at"].date().isoformat() for e in events + windows})
    events = net(events)
    of = collections.defaultdict(list)
    for event in events:
        event["day"] = event["at"].date().isoformat()
        of[event["event_type"]].append(event)
    truth = collections.defaultdict(dict)

    def count(kind, key=lambda e: e["day"]):
        return collections.Counter(key(e) for e in of[kind])

    def ratio(name, above, below, keys):
        for key in keys:
            total = sum(c[key] for c in below)
            truth[name][key] = sum(c[key] for c in above) / total if total else None

    done, failed = count("registration_completed"), count("registration_failed")
    renewed, declined, expired = count("renewal_completed"), count("renewal_declined"), count("expired")
    t_in, t_out = count("transfer_in_completed"), count("transfer_out_completed")
    for day in raw_days:
        truth["registrations"][day] = done[day]
        truth["renewals"][day] = renewed[day]
        truth["net_transfers"][day] = t_in[day] - t_out[day]
    ratio("registration_success_ratio", [done], [done, failed], raw_days)
    ratio("renewal_ratio", [renewed], [renewed, declined, expired], raw_days)
    month = lambda e: e["day"][:7]
    months = sorted({day[:7] for day in raw_days})
    ratio(
        "registration_success_ratio month",
        [count("registration_completed", month)],
        [count("registration_completed", month), count("registration_failed", month)],
        months,
    )
    for (day, tld), number in count("registration_completed", lambda e: (e["day"], e["tld"])).items():
        truth["registrations by tld"][f"{day}/{tld}"] = number

    # Domains requested on a day, and whether one of that day's requests was completed within 7 days.
    completed = collections.defaultdict(list)
    for event in of["transfer_in_completed"]:
        completed[event["domain"]].append(event["at"])
    asked = collections.defaultdict(lambda: collections.defaultdict(bool))
    for event in of["transfer_in_requested"]:
        week = datetime.timedelta(days=7)
        in_time = any(event["at"] <= at <= event["at"] + week for at in completed[event["domain"]])
        asked[event["day"]][event["domain"]] |= in_time
    for day in raw_days:
        domains = asked.get(day)
        truth["transfer_completion_ratio"][day] = sum(domains.values()) / len(domains) if domains else None

    reports = {(e["domain"], e.get("abuse_category"), e["day"]) for e in of["abuse_reported"]}
    per_day = collections.Counter(day for _, _, day in reports)
    first_report, hours = {}, collections.defaultdict(list)
    for event in of["abuse_reported"]:
        known = first_report.get(event["request_id"])
        if known is None or event["at"] < known["at"]:
            first_report[event["request_id"]] = event
    answers = collections.defaultdict(list)
    for event in of["abuse_first_response"]:
        answers[event["request_id"]].append(event["at"])
    for request, report in first_report.items():
        after = [at for at in answers[request] if at >= report["at"]]
        if after:
            hours[report["day"]].append((min(after) - report["at"]) / HOUR)
    for day in raw_days:
        truth["abuse_reports"][day] = per_day[day]
        truth["abuse_first_response_hours_p50"][day] = statistics.median(hours[day]) if hours[day] else None
    for name in months:
        values = [v for day, list_ in hours.items() if day.startswith(name) for v in list_]
        truth["abuse_first_response_hours_p50 month"][name] = statistics.median(values) if values else None

    revenue = collections.Counter()
    for kind, sign in (("payment_captured", 1), ("payment_refunded", -1)):
        for event in of[kind]:
            revenue[f'{event["day"]}/{event["currency"]}'] += sign * event["amount_micros"]
    truth["revenue"] = dict(revenue)

    errors, queries = collections.Counter(), collections.Counter()
    for window in windows:
        day = window["at"].date().isoformat()
        servfail = sum(r["count"] for r in window["rcodes"] if r["rcode"] == "SERVFAIL")
        errors[day] += servfail + window["statuses"]["timeout"]
        queries[day] += window["queries"]
    for day in raw_days:
        truth["dns_query_error_ratio"][day] = errors[day] / queries[day] if queries[day] else None
    json.dump(truth, sys.stdout)


main()
