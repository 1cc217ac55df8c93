-- Incidents: alerts that belong together. Alerts about one subject (zone, else resolver, service or entity) belong to one
-- incident while not more than 15 minutes lie between the end of those before and the start of the next.
--
-- People say what an incident was with `dnscribe annotate --incident confirmed` or `false-alarm`: the zone or service says of
-- which subject, the time of which incident.
CREATE OR REPLACE VIEW dns_incidents (
    incident_id, subject, started, user_visible, detected, ended, severity, cause, spotted_by, scope, rules, alerts, summary,
    was_real, comment
) AS
WITH alert AS (
    SELECT a.alert_id, min(a.scope) AS scope, min(a.rule) AS rule, min(a.started) AS started, min(a.ts) AS detected,
        coalesce(max(a.ended), CASE WHEN max(a.ts) < now() - INTERVAL '2 hours' THEN max(a.ts) END) AS ended, max(a.ts) AS last,
        max(array_position(ARRAY['info', 'warning', 'critical'], a.severity)) AS rank,
        coalesce(min(a.zone), min(a.resolver), min(a.body ->> 'service'), min(a.entity)) AS subject,
        min(a.body ->> 'service') AS service,
        (array_agg(a.summary ORDER BY a.ts))[1] AS summary,
        min(a.ts - (f ->> 'value')::double precision * INTERVAL '1 second') FILTER (WHERE f ->> 'name' = 'user_visible_seconds'
            AND (f ->> 'value')::double precision > 0) AS user_visible
    FROM dns_alerts a
    LEFT JOIN LATERAL jsonb_array_elements(a.body -> 'figures') AS f ON a.rule = 'service_impact'
    GROUP BY a.alert_id
), step AS (
    SELECT alert.*, coalesce(started > max(coalesce(ended, last)) OVER (PARTITION BY subject ORDER BY started, alert_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + INTERVAL '15 minutes', true) AS is_first
    FROM alert
), island AS (
    SELECT step.*, count(*) FILTER (WHERE is_first) OVER (PARTITION BY subject ORDER BY started, alert_id) AS number
    FROM step
), incident AS (
    SELECT subject, number, min(service) AS service, min(started) AS started, min(user_visible) AS user_visible,
        min(detected) AS detected, CASE WHEN bool_and(ended IS NOT NULL) THEN max(ended) END AS ended, max(last) AS last,
        max(rank) AS rank,
        -- The verdict of a probe says why, then what the fleet sees, then what one node sees; the worst and first of these.
        (array_agg(rule ORDER BY array_position(ARRAY['probe', 'fleet', 'node'], scope), rank DESC, detected))[1] AS cause,
        (array_agg(rule ORDER BY detected, alert_id))[1] AS spotted_by, (array_agg(scope ORDER BY detected, alert_id))[1] AS scope,
        array_agg(DISTINCT rule) AS rules, count(*) AS alerts, (array_agg(summary ORDER BY rank DESC, detected))[1] AS summary,
        (array_agg(alert_id ORDER BY started, alert_id))[1] AS incident_id
    FROM island
    GROUP BY subject, number
)
SELECT i.incident_id, i.subject, i.started, i.user_visible, i.detected, i.ended,
    (ARRAY['info', 'warning', 'critical'])[i.rank], i.cause, i.spotted_by, i.scope, i.rules, i.alerts, i.summary,
    c.verdict = 'confirmed', c.summary
FROM incident i
LEFT JOIN LATERAL (
    SELECT c.summary, c.body ->> 'incident' AS verdict FROM dns_changes c
    WHERE (c.zone = i.subject OR c.service IN (i.subject, i.service)) AND c.body ->> 'incident' IS NOT NULL
        AND c.ts BETWEEN i.started - INTERVAL '1 hour' AND coalesce(i.ended, i.last) + INTERVAL '1 hour'
    ORDER BY c.ts DESC LIMIT 1
) c ON true;

-- How good each rule is: alerts of incidents that people confirmed or called false, and the mean time to detect from when
-- users could see the incident, else from its first finding.
CREATE OR REPLACE VIEW dns_rule_quality (
    rule, incidents, confirmed, false_alarms, precision_ratio, spotted_first, recall_ratio, detect_seconds_mean
) AS
SELECT r.rule, count(*), count(*) FILTER (WHERE i.was_real), count(*) FILTER (WHERE NOT i.was_real),
    count(*) FILTER (WHERE i.was_real)::double precision / nullif(count(i.was_real), 0),
    count(*) FILTER (WHERE i.spotted_by = r.rule),
    count(*) FILTER (WHERE i.was_real)::double precision
        / nullif((SELECT count(*) FROM dns_incidents one WHERE one.was_real), 0),
    avg(extract(epoch FROM i.detected - coalesce(i.user_visible, i.started)))
        FILTER (WHERE i.spotted_by = r.rule)::double precision
FROM dns_incidents i CROSS JOIN LATERAL unnest(i.rules) AS r (rule)
GROUP BY r.rule;
