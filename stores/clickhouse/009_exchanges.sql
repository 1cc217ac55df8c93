-- The two ends of exchanges between hosts: a query as its sender saw it leave, and the same query as another node saw it arrive.
--
--   SELECT * FROM dns_exchanges(from = '2026-11-20 10:00:00', to = '2026-11-20 10:15:00', skew_ms = 1000)
--
-- They are alike in the client's address and port, id, question and transport. The server's address is not compared: that of a
-- service is translated on the way (DNAT). A sender whose address is translated (SNAT) is not found. skew_ms is how far the clocks
-- of two nodes, and the way, may be apart. Where more than one query of senders fits what arrived, or more arrived than were
-- sent, none is taken.
--
-- outside_ms is what the sender waited and the server did not work: way and queues, whatever the clocks say. offset_ms is how much
-- later the server's clock says that the query arrived.
CREATE VIEW IF NOT EXISTS dns_exchanges AS
SELECT
    ts,
    client_node,
    server_node,
    client_event_id,
    server_event_id,
    client_ip,
    qname,
    qtype,
    asked_ip,
    server_ip,
    status,
    rcode,
    retries,
    client_ms,
    server_ms,
    client_ms - server_ms AS outside_ms,
    offset_ms
FROM
(
    SELECT
        client.ts AS ts,
        client.node AS client_node,
        server.node AS server_node,
        client.event_id AS client_event_id,
        server.event_id AS server_event_id,
        client.client_ip AS client_ip,
        client.qname AS qname,
        client.qtype AS qtype,
        client.server_ip AS asked_ip,
        server.server_ip AS server_ip,
        client.status AS status,
        client.rcode AS rcode,
        client.retries AS retries,
        client.latency_ms AS client_ms,
        server.latency_ms AS server_ms,
        dateDiff('microsecond', client.ts, server.ts) / 1000 AS offset_ms,
        uniqExact(server.event_id) OVER (PARTITION BY client.event_id) AS servers,
        uniqExact(client.event_id) OVER (PARTITION BY server.event_id) AS clients
    FROM
    (
        SELECT event_id, ts, node, client_ip, client_port, server_ip, id, qname, qtype, transport, status, rcode, retries, latency_ms
        FROM dns_transactions FINAL
        WHERE vantage = 'client'
            AND ts >= {from:DateTime64(9, 'UTC')} - toIntervalMillisecond(2 * {skew_ms:UInt32})
            AND ts < {to:DateTime64(9, 'UTC')} + toIntervalMillisecond(2 * {skew_ms:UInt32})
    ) AS client
    INNER JOIN
    (
        SELECT event_id, ts, node, client_ip, client_port, server_ip, id, qname, qtype, transport, latency_ms
        FROM dns_transactions FINAL
        WHERE vantage = 'server' AND parent_event_id = ''
            AND ts >= {from:DateTime64(9, 'UTC')} - toIntervalMillisecond({skew_ms:UInt32})
            AND ts < {to:DateTime64(9, 'UTC')} + toIntervalMillisecond({skew_ms:UInt32})
    ) AS server
        ON client.client_ip = server.client_ip AND client.client_port = server.client_port AND client.id = server.id
        AND client.qname = server.qname AND client.qtype = server.qtype AND client.transport = server.transport
    WHERE client.node != server.node AND abs(dateDiff('microsecond', client.ts, server.ts)) <= 1000 * {skew_ms:UInt32}
)
-- What was sent just before or behind counts among what fits.
WHERE clients = 1 AND servers <= 1 + retries AND ts >= {from:DateTime64(9, 'UTC')} AND ts < {to:DateTime64(9, 'UTC')};
