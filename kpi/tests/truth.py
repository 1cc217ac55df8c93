"""Expected values of all KPIs, computed from the raw rows with nothing but the standard library.

Usage: truth.py FILE... > truth.json: {kpi: {"day[/slice]": value}}; "kpi month" and "kpi by tld" for some.
Days without a value are left out where a KPI is sliced; a ratio of nothing and a percentile of nothing are null.
"""

import collections
import datetime
import json
import math
import sys

HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
WEEK = datetime.timedelta(days=7)


def parse(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(datetime.timezone.utc)


class Rows:
    """Rows of all files: events as they are, windows and measurements each once."""

    def __init__(self, paths):
        self.events, self.refused, windows, probes, alerts = [], [], {}, {}, {}
        for path in paths:
            for line in open(path, encoding="utf-8"):
                try:
                    row = json.loads(line)
                    row["at"] = parse(row.get("event_ts") or row["ts"])
                except (ValueError, KeyError):
                    continue
                row["day"] = row["at"].date().isoformat()
                if row.get("schema") == "dns.fleet/1":
                    key = (row["ts"], row["window_seconds"], row["vantage"])
                    if row["grouping"] == "all" and row["revision"] >= windows.get(key, row)["revision"]:
                        windows[key] = row
                elif row.get("schema") == "dns.probe/1":
                    probes[row["event_id"]] = row
                elif row.get("schema") == "dns.alert/1":
                    alerts[row["alert_id"]] = {"day": parse(row["started"]).date().isoformat()}
                elif len(row.get("country", "DE")) != 2:
                    self.refused.append(row)
                else:
                    self.events.append(row)
        self.windows, self.probes, self.alerts = list(windows.values()), list(probes.values()), list(alerts.values())


def first_of_each(rows, key, order):
    best = {}
    for row in sorted(rows, key=order):
        best.setdefault(key(row), row)
    return list(best.values())


def earliest(events, field):
    return first_of_each(events, lambda e: e[field], lambda e: e["at"])


def unique(events):
    """Events without those that repeat an earlier one."""
    events = first_of_each(
        events,
        lambda e: (e.get("source_system"), e["event_id"]),
        lambda e: (e["at"], e["business_key"], e["event_type"]),
    )
    return first_of_each(events, lambda e: (e["event_type"], e["business_key"]), lambda e: (e["at"], e["event_id"]))


def alive_and_corrected(events):
    """Events that count, and those that another event takes away."""
    correctors = collections.defaultdict(list)
    for event in events:
        if event.get("corrects"):
            correctors[event["corrects"]].append(event["business_key"])

    def is_alive(key):
        return not any(is_alive(other) for other in correctors.get(key, []))

    alive, corrected = [], []
    for event in events:
        (alive if is_alive(event["business_key"]) else corrected).append(event)
    return alive, corrected


def percentile(values, share):
    if not values:
        return None
    values = sorted(values)
    rank = share * (len(values) - 1)
    low = math.floor(rank)
    high = math.ceil(rank)
    return values[low] + (values[high] - values[low]) * (rank - low)


def by_day(rows, key=lambda row: row["day"], value=lambda row: 1):
    sums = collections.Counter()
    for row in rows:
        sums[key(row)] += value(row)
    return sums


def lists(pairs):
    found = collections.defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found


def durations(starts, ends):
    """(day, hours) of each request from its first start to its first end after that, by the day of the start."""
    after = lists((e["request_id"], e["at"]) for e in ends)
    for start in earliest(starts, "request_id"):
        times = [at for at in after[start["request_id"]] if at >= start["at"]]
        if times:
            yield start["day"], (min(times) - start["at"]) / HOUR


def in_a_week(start, times):
    return any(start <= at <= start + WEEK for at in times)


class Truth:
    def __init__(self, rows):
        self.rows = rows
        once = unique(rows.events)
        alive, self.corrected = alive_and_corrected(once)
        self.once_ids = {id(event) for event in once}
        self.of = lists((event["event_type"], event) for event in alive)
        every = rows.events + rows.windows + rows.probes
        self.days = sorted({row["day"] for row in every})
        self.values = collections.defaultdict(dict)

    def count(self, *kinds, key=lambda row: row["day"]):
        return by_day((event for kind in kinds for event in self.of[kind]), key)

    def simple(self, name, plus, minus=collections.Counter()):
        for day in self.days:
            self.values[name][day] = plus[day] - minus[day]

    def ratio(self, name, above, below, keys=None):
        for key in self.days if keys is None else keys:
            self.values[name][key] = above[key] / below[key] if below[key] else None

    def share_within(self, name, start, end, limit):
        """Share of what was due: what has not happened is not within the limit."""
        within = collections.Counter(day for day, hours in self.took(start, end) if hours <= limit)
        self.ratio(name, within, by_day(earliest(self.of[start], "request_id")))

    def percentile(self, name, pairs, share):
        values = lists(pairs)
        for day in self.days:
            self.values[name][day] = percentile(values[day], share)

    def took(self, start, end):
        return list(durations(self.of[start], self.of[end]))

    def operations(self):
        count = self.count
        done, failed = count("registration_completed"), count("registration_failed")
        self.ratio("registration_success_ratio", done, done + failed)
        self.simple("registration_failures", failed)
        for name, kind in [
            ("transfer_failures", "transfer_in_failed"),
            ("contact_changes", "contact_changed"),
            ("nameserver_changes", "nameserver_changed"),
            ("hijack_indicators", "hijack_suspected"),
            ("policy_escalations", "policy_escalated"),
            ("account_lockouts", "account_locked"),
        ]:
            self.simple(name, count(kind))
        deflected = count("ticket_deflected")
        self.ratio("ticket_deflection_ratio", deflected, deflected + count("ticket_opened"))
        asked = self.transfer_requests()
        requested = collections.Counter({day: len(domains) for day, domains in asked.items()})
        completed = collections.Counter({day: sum(domains.values()) for day, domains in asked.items()})
        self.ratio("transfer_completion_ratio", completed, requested)
        transfers = self.took("transfer_in_requested", "transfer_in_completed")
        self.percentile("transfer_hours_p50", transfers, 0.5)
        self.share_within("transfer_sla_ratio", "transfer_in_requested", "transfer_in_completed", 120)
        self.percentile("restore_hours_p50", self.took("restore_requested", "restore_completed"), 0.5)
        self.share_within("restore_completion_ratio", "restore_requested", "restore_completed", 168)
        reports = {(e["domain"], e.get("abuse_category"), e["day"]) for e in self.of["abuse_reported"]}
        self.simple("abuse_reports", collections.Counter(day for _, _, day in reports))
        answers = self.took("abuse_reported", "abuse_first_response")
        self.percentile("abuse_first_response_hours_p50", answers, 0.5)
        self.percentile("abuse_first_response_hours_p95", answers, 0.95)
        self.share_within("abuse_response_sla_ratio", "abuse_reported", "abuse_first_response", 24)
        self.percentile("abuse_resolution_hours_p50", self.took("abuse_reported", "abuse_resolved"), 0.5)
        months = lists((day[:7], hours) for day, hours in answers)
        for month in sorted({day[:7] for day in self.days}):
            self.values["abuse_first_response_hours_p50 month"][month] = percentile(months[month], 0.5)

    def transfer_requests(self):
        """Domains requested on a day, and whether one of that day's requests was completed within 7 days."""
        completed = lists((e["domain"], e["at"]) for e in self.of["transfer_in_completed"])
        asked = collections.defaultdict(lambda: collections.defaultdict(bool))
        for event in self.of["transfer_in_requested"]:
            asked[event["day"]][event["domain"]] |= in_a_week(event["at"], completed[event["domain"]])
        return asked

    def dns(self):
        windows = self.rows.windows

        def sums(value):
            return by_day(windows, value=value)

        def servfail(window):
            responses = sum(r["count"] for r in window["rcodes"] if r["rcode"] == "SERVFAIL")
            failed = window["queries"] - window["successes"] - window["statuses"]["timeout"]
            return min(responses, max(failed, 0))

        queries = sums(lambda w: w["queries"])
        self.simple("dns_queries", queries)
        self.ratio("dns_query_error_ratio", sums(lambda w: servfail(w) + w["statuses"]["timeout"]), queries)
        self.ratio("dns_success_ratio", sums(lambda w: w["successes"]), queries)
        self.ratio("dns_retry_ratio", sums(lambda w: w["retries"]), queries)
        self.simple("dns_covered_seconds", sums(lambda w: w["window_seconds"]))
        self.simple("dns_anomalies", by_day(self.rows.alerts))
        probes = self.rows.probes
        self.ratio("probe_success_ratio", by_day(p for p in probes if p["ok"]), by_day(probes))
        self.percentile("probe_duration_ms_p95", ((p["day"], p["duration_ms"]) for p in probes), 0.95)

    def sales(self):
        count = self.count
        done = count("registration_completed")
        self.simple("registrations", done)
        for (day, tld), number in count("registration_completed", key=lambda e: (e["day"], e["tld"])).items():
            self.values["registrations by tld"][f"{day}/{tld}"] = number
        self.simple("registrations_by_campaign", done)
        for index, day in enumerate(self.days):
            self.values["registrations_28d"][day] = sum(done[one] for one in self.days[max(index - 27, 0) : index + 1])
        self.simple("renewals", count("renewal_completed"))
        outcomes = count("renewal_completed", "renewal_declined", "expired")
        self.ratio("renewal_ratio", count("renewal_completed"), outcomes)
        t_in, t_out = count("transfer_in_completed"), count("transfer_out_completed")
        self.simple("net_transfers", t_in, t_out)
        self.simple("transfers_in", t_in)
        self.simple("transfers_out", t_out)
        gone = count("deleted", "transfer_out_completed")
        self.simple("churn", gone)
        back = count("restore_completed")
        self.simple("portfolio_growth", done + t_in + back, gone)
        total = 0
        for day in self.days:
            total += done[day] + t_in[day] + back[day] - gone[day]
            self.values["portfolio"][day] = total
        self.simple("quotes", count("quote_created"))
        captured, failed = count("payment_captured"), count("payment_failed")
        self.ratio("payment_failure_ratio", failed, captured + failed)
        self.carts()
        self.trials()
        self.money()
        self.cohorts()

    def carts(self):
        registered = lists((e["request_id"], e["at"]) for e in self.of["registration_completed"])
        carts = earliest(self.of["cart_created"], "request_id")
        converted = [cart for cart in carts if in_a_week(cart["at"], registered[cart["request_id"]])]
        self.ratio("cart_conversion_ratio", by_day(converted), by_day(carts))

    def money(self):
        def key(event):
            return f'{event["day"]}/{event["currency"]}'

        def amount(kind):
            return by_day(self.of[kind], key, lambda e: e["amount_micros"])

        captured, refunded = amount("payment_captured"), amount("payment_refunded")
        keys = captured.keys() | refunded.keys()
        self.values["revenue"] = {day: captured[day] - refunded[day] for day in keys}
        # Every payment of the sample is for a domain.
        paid = {(key(e), e["domain"]) for e in self.of["payment_captured"]}
        net = {day: captured[day] - refunded[day] for day in keys}
        self.ratio("revenue_per_domain", net, by_day(paid, lambda pair: pair[0]), keys)
        self.values["revenue_month_to_date"] = self.month_to_date(captured, refunded)
        self.ratio("refund_ratio", refunded, captured, keys)
        self.ratio("revenue_per_payment", captured, by_day(self.of["payment_captured"], key), captured.keys())

    def month_to_date(self, captured, refunded):
        totals, found = {}, {}
        for day in self.days:
            totals = totals if found and not day.endswith("-01") else {}
            for currency in {key.split("/")[1] for key in captured.keys() | refunded.keys() if key.startswith(day)}:
                key = f"{day}/{currency}"
                totals[currency] = totals.get(currency, 0) + captured[key] - refunded[key]
            found.update({f"{day}/{currency}": total for currency, total in totals.items()})
        return found

    def trials(self):
        paid = lists((e["account_id"], e["at"]) for e in self.of["payment_captured"])
        trials = earliest(self.of["trial_started"], "account_id")
        month = 30 * DAY
        pays = [t for t in trials if any(t["at"] <= at <= t["at"] + month for at in paid[t["account_id"]])]
        self.ratio("trial_conversion_ratio", by_day(pays), by_day(trials))

    def cohorts(self):
        starts = collections.defaultdict(list)
        for prefix, kind in [("", "registration_completed"), ("transfer ", "transfer_in_completed")]:
            for event in self.of[kind]:
                starts[event["domain"]].append((event["at"], prefix + event["day"][:7] + "-01"))

        def cohort(event):
            """That of the last registration or transfer before the event."""
            return max((start for start in starts[event["domain"]] if start[0] <= event["at"]), default=(None, None))[1]

        def outcomes(*kinds):
            events = [e for kind in kinds for e in self.of[kind] if cohort(e)]
            return by_day(events, lambda e: f'{e["day"]}/{cohort(e)}')

        due = outcomes("renewal_completed", "renewal_declined", "expired")
        self.ratio("cohort_renewal_ratio", outcomes("renewal_completed"), due, due.keys())

    def product(self):
        count = self.count
        self.share_within("workflow_completion_ratio", "workflow_started", "workflow_completed", 168)
        self.share_within("auth_code_ratio", "auth_code_requested", "auth_code_issued", 120)
        requests = count("api_request")
        self.ratio("api_error_ratio", count("api_error"), requests)
        self.ratio("api_retry_ratio", count("api_retry"), requests)
        for name, kind in [("api_latency_ms_p95", "api_request"), ("registration_latency_ms_p95", "registration_completed")]:
            self.percentile(name, ((e["day"], e["latency_ms"]) for e in self.of[kind]), 0.95)
        changes = self.took("dns_change_requested", "dns_change_completed")
        self.percentile("dns_change_minutes_p50", ((day, hours * 60) for day, hours in changes), 0.5)
        checkouts = self.took("cart_created", "registration_completed")
        self.percentile("checkout_minutes_p50", ((day, hours * 60) for day, hours in checkouts), 0.5)

    def pipeline(self):
        events = self.rows.events
        all_rows, refused = by_day(events), by_day(self.rows.refused)
        self.simple("raw_events", all_rows)
        self.ratio("rejected_ratio", refused, all_rows + refused)
        repeated = [event for event in events if id(event) not in self.once_ids]
        self.ratio("duplicate_ratio", by_day(repeated), all_rows)
        self.simple("corrections", by_day(self.corrected))
        # What comes without a time of arrival arrives when it is imported: long after.
        delays = [(e["day"], (parse(e["ingest_ts"]) - e["at"]) if "ingest_ts" in e else 400 * DAY) for e in events]
        self.ratio("late_ratio", collections.Counter(day for day, delay in delays if delay > DAY), all_rows)
        self.percentile(
            "ingest_lag_minutes_p95", ((day, max(delay, 0 * DAY) // (HOUR / 60)) for day, delay in delays), 0.95
        )
        registrations = [e for e in events if e["event_type"] == "registration_completed"]
        without = [e for e in registrations if "country" not in e]
        self.ratio("null_country_ratio", by_day(without), by_day(registrations))

    def months(self):
        def month(event):
            return event["day"][:7]

        done = self.count("registration_completed", key=month)
        both = done + self.count("registration_failed", key=month)
        self.ratio("registration_success_ratio month", done, both, sorted({day[:7] for day in self.days}))


def main():
    truth = Truth(Rows(sys.argv[1:]))
    for part in [truth.operations, truth.dns, truth.sales, truth.product, truth.pipeline, truth.months]:
        part()
    json.dump(truth.values, sys.stdout)


main()
