//! The help: keys and columns.

use super::Theme;
use ratatui::text::Line;

const KEYS: &[(&str, &str)] = &[
    ("1-8, Tab", "resolvers, zones, names, processes, rcodes, alerts, loss, uses"),
    ("up, down, j, k", "choose a line; PgUp, PgDn, Home, End"),
    ("Enter", "drill: resolver > failing names > who asked; back: Esc"),
    ("f", "in a drill: failures only, or all"),
    ("s, S", "sort by the next column; the other way round"),
    ("/", "filter: lines that hold a text; Esc drops it"),
    ("v", "side: each query once, client, server, passive, both"),
    ("t", "time: the last 60 s, or since the start"),
    ("p, space", "hold the picture; counting goes on"),
    ("c", "clear: count from zero"),
    ("q, Ctrl-C", "quit"),
];

const COLUMNS: &[(&str, &str)] = &[
    ("QPS", "queries whose outcome is known, per second"),
    ("P50 P99", "latency that 50 %, 99 % of the answers stay below"),
    ("NOANS%", "share without an answer: timeout, ICMP unreachable"),
    ("SERVF% NXDOM%", "share of SERVFAIL, NXDOMAIN; OTHER%: other errors"),
    ("STRAY", "late, duplicate and orphaned responses"),
    ("ESTAB% REFUS%", "uses: share of connections established, refused, ..."),
    ("STALE%", "uses: share whose answer's TTL was over"),
    ("! !!", "1 %, 5 % without an answer or with an error"),
];

pub(super) fn lines(theme: Theme) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(" dnscribe top: keys and columns", theme.title())];
    let explained = |(name, what): &(&str, &str)| Line::raw(format!(" {name:<15}{what}"));
    lines.extend(KEYS.iter().map(explained));
    lines.push(Line::raw(""));
    lines.extend(COLUMNS.iter().map(explained));
    lines.push(Line::raw(" any key closes this"));
    lines
}
