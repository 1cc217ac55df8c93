-- Writes dns.stream.ledger/1. A record that is there already stays.
CREATE OR REPLACE FUNCTION stream_ledger_put(records jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT dns_put('stream_ledger', records, 'job', 'false')
$$;
