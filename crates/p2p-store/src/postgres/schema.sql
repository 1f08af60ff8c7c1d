-- One record is one row; the record is the truth, and the other columns follow from it.
CREATE TABLE {schema}.peers (
    id uuid PRIMARY KEY CHECK (id = (record ->> 'id')::uuid),
    record jsonb NOT NULL,
    ip inet NOT NULL GENERATED ALWAYS AS ((record ->> 'ip_address')::inet) STORED,
    port integer NOT NULL GENERATED ALWAYS AS ((record ->> 'port')::integer) STORED,
    status text NOT NULL GENERATED ALWAYS AS (record ->> 'status') STORED,
    CONSTRAINT peers_address UNIQUE (ip, port)
);
CREATE INDEX peers_status ON {schema}.peers (status);

CREATE FUNCTION {schema}.is_banned(record jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(record ->> 'status' = 'Banned', false)
        OR coalesce(jsonb_typeof(record -> 'ban') <> 'null', false)
$$;

-- What becomes of a record when another is put in its place. A ban stays, unless whoever writes
-- knew of it: who did not know cannot have lifted it.
CREATE FUNCTION {schema}.merged(stored jsonb, given jsonb, knew boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN NOT knew AND {schema}.is_banned(stored) AND NOT {schema}.is_banned(given)
        THEN given || jsonb_build_object(
            'status', stored -> 'status',
            'status_timestamp', stored -> 'status_timestamp',
            'ban', stored -> 'ban')
        ELSE given
    END
$$;

-- Puts a batch, of which no two records have the same id or the same address. In order of id, so
-- that two batches at a time wait for each other and do not block each other. Two that want the same
-- address for different ids can still meet: one fails then, and tries again alone.
CREATE FUNCTION {schema}.apply(records jsonb, displaced uuid[], known_bans uuid[], alone boolean)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF alone THEN
        LOCK TABLE {schema}.peers IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    DELETE FROM {schema}.peers WHERE id = ANY (displaced);
    DELETE FROM {schema}.peers p USING jsonb_array_elements(records) AS r
        WHERE p.ip = (r ->> 'ip_address')::inet
          AND p.port = (r ->> 'port')::integer
          AND p.id <> (r ->> 'id')::uuid;
    INSERT INTO {schema}.peers AS p (id, record)
        SELECT (r ->> 'id')::uuid, r FROM jsonb_array_elements(records) AS r ORDER BY 1
        ON CONFLICT (id) DO UPDATE
            SET record = {schema}.merged(p.record, excluded.record, p.id = ANY (known_bans))
            WHERE p.record IS DISTINCT FROM
                {schema}.merged(p.record, excluded.record, p.id = ANY (known_bans));
END
$$;

-- Whoever changes a row, a manager or an operator, tells all managers which row it was. Managers
-- say who they are in `bsv_p2p.origin`, so that each knows its own.
CREATE FUNCTION {schema}.announce() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify('{channel}', '*');
    ELSE
        PERFORM pg_notify('{channel}', coalesce(NEW.id, OLD.id)::text
            || ' ' || coalesce(current_setting('bsv_p2p.origin', true), ''));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER announce_presence AFTER INSERT OR DELETE ON {schema}.peers
    FOR EACH ROW EXECUTE FUNCTION {schema}.announce();
CREATE TRIGGER announce_change AFTER UPDATE ON {schema}.peers
    FOR EACH ROW WHEN (OLD.record IS DISTINCT FROM NEW.record OR OLD.id <> NEW.id)
    EXECUTE FUNCTION {schema}.announce();
CREATE TRIGGER announce_truncation AFTER TRUNCATE ON {schema}.peers
    FOR EACH STATEMENT EXECUTE FUNCTION {schema}.announce();
