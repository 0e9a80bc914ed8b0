-- The schema `shop`, its first rows, and the functions that pgbench calls to change them.
-- All of it is synthetic. Random choices come from random(), seeded per session by the caller.

CREATE TABLE customers (
    id          bigint PRIMARY KEY,
    name        varchar(80) NOT NULL,
    email       text NOT NULL,
    country     char(2) NOT NULL,
    tags        text[],
    address     jsonb,
    credit      numeric(10,2) NOT NULL DEFAULT 0,
    vip         boolean NOT NULL DEFAULT false,
    born_on     date,
    created_at  timestamptz NOT NULL,
    updated_at  timestamp(3)
);

CREATE TABLE products (
    sku         varchar(20) PRIMARY KEY,
    title       text NOT NULL,
    price       numeric(12,2) NOT NULL,
    stock       integer NOT NULL,
    weight_kg   real,
    active      boolean NOT NULL,
    barcode     bytea,
    changed_at  timestamp(6) NOT NULL
);

CREATE TABLE orders (
    id          bigint PRIMARY KEY,
    customer_id bigint NOT NULL,
    status      text NOT NULL,
    total       numeric(12,2) NOT NULL,
    placed_at   timestamptz NOT NULL,
    shipped_on  date,
    note        text
);
-- Updates and deletes of orders carry the whole old row; all other tables only their key.
ALTER TABLE orders REPLICA IDENTITY FULL;

CREATE TABLE order_items (
    order_id    bigint NOT NULL,
    line        smallint NOT NULL,
    sku         varchar(20) NOT NULL,
    quantity    integer NOT NULL,
    unit_price  numeric(12,2) NOT NULL,
    PRIMARY KEY (order_id, line)
);

CREATE TABLE types (
    id          integer PRIMARY KEY,
    c_smallint  smallint,
    c_int       integer,
    c_bigint    bigint,
    c_real      real,
    c_double    double precision,
    c_boolean   boolean,
    c_text      text,
    c_varchar   varchar(40),
    c_char      char(6),
    c_numeric_9_2   numeric(9,2),
    c_numeric_18_0  numeric(18,0),
    c_numeric_38_10 numeric(38,10),
    c_date      date,
    c_time_3    time(3),
    c_time_6    time(6),
    c_timestamp_3   timestamp(3),
    c_timestamp_6   timestamp(6),
    c_timestamptz   timestamptz,
    c_uuid      uuid,
    c_bytea     bytea,
    c_jsonb     jsonb,
    c_ints      integer[],
    c_texts     text[]
);

-- The capture stops when a row comes in here.
CREATE TABLE capture_end (id integer PRIMARY KEY);

CREATE SEQUENCE customer_ids START 1001;
CREATE SEQUENCE order_ids START 1;
CREATE SEQUENCE type_ids START 1001;

CREATE FUNCTION pick(choices text[]) RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT choices[1 + floor(random() * array_length(choices, 1))::int] $$;

CREATE FUNCTION some_name() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT pick(ARRAY['Ada','Zoë','Łukasz','Søren','Αλέξης','Юлия','明','さくら','José','Ngọc',
                      'Fatma','O''Neil','Jean-Luc','"Quote"','Åsa','Ümit','דנה','ليلى','Olumidé','Bob'])
        || ' ' ||
           pick(ARRAY['Müller','Smith','Nakamura 中村','García','Ivanova','Kowalski','Ng','Öztürk',
                      'van der Berg','D''Angelo','Østergård','🙂 Emoji','Papadopoulos','Okonkwo'])
$$;

CREATE FUNCTION new_customer(which bigint) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO customers VALUES (
        which, some_name(), 'c' || which || '@example.invalid',
        pick(ARRAY['DE','FR','JP','BR','NG','US','PL','TR']),
        CASE WHEN random() < 0.3 THEN NULL
             WHEN random() < 0.1 THEN ARRAY[]::text[]
             ELSE ARRAY[pick(ARRAY['new','b2b','newsletter']), pick(ARRAY['a,b','"q"','straße'])] END,
        CASE WHEN random() < 0.2 THEN NULL
             ELSE jsonb_build_object('street', pick(ARRAY['Hauptstraße','Rue de l''Église','大通り']),
                                     'no', 1 + floor(random() * 99)::int, 'floor', NULL) END,
        round((random() * 500)::numeric, 2), random() < 0.1,
        CASE WHEN random() < 0.2 THEN NULL ELSE date '1930-01-01' + floor(random() * 28000)::int END,
        clock_timestamp(), clock_timestamp())
$$;

CREATE FUNCTION new_product(which text) RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO products VALUES (
        which, pick(ARRAY['Kettle','Lamp','Chair','Bücherregal','座布団','Cable','Mug']) || ' '
            || pick(ARRAY['small','large','blue','rot','№5','"Classic"']),
        round((1 + random() * 900)::numeric, 2), 100 + floor(random() * 900)::int,
        CASE WHEN random() < 0.1 THEN NULL ELSE (random() * 40)::real END, true,
        CASE WHEN random() < 0.3 THEN NULL ELSE decode(md5(random()::text), 'hex') END,
        clock_timestamp())
$$;

-- A customer orders one to four products: an order, its items and less stock, one transaction.
CREATE FUNCTION place_order() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    this_order bigint := nextval('order_ids');
    buyer bigint := (SELECT id FROM customers WHERE id >= floor(random() * 1000) ORDER BY id LIMIT 1);
    lines int := 1 + floor(random() * 4)::int;
    sum_total numeric(12,2) := 0;
    item record;
    line_no int := 0;
BEGIN
    FOR item IN SELECT sku, price FROM products WHERE active ORDER BY random() LIMIT lines LOOP
        line_no := line_no + 1;
        sum_total := sum_total + item.price * line_no;
        INSERT INTO order_items VALUES (this_order, line_no, item.sku, line_no, item.price);
    END LOOP;
    INSERT INTO orders VALUES (this_order, buyer, 'placed', sum_total, clock_timestamp(), NULL,
        CASE WHEN random() < 0.3 THEN pick(ARRAY['gift','','please ring twice','Bitte klingeln – 2×',
                                                 E'two\nlines','{"json": "inside"}','null']) END);
END $$;

-- An open order moves on: placed, paid, shipped, done; some are cancelled.
CREATE FUNCTION advance_order() RETURNS void LANGUAGE sql VOLATILE AS $$
    UPDATE orders SET
        status = CASE status WHEN 'placed' THEN CASE WHEN random() < 0.1 THEN 'cancelled' ELSE 'paid' END
                             WHEN 'paid' THEN 'shipped' ELSE 'done' END,
        shipped_on = CASE WHEN status = 'paid' THEN current_date ELSE shipped_on END
    WHERE id = (SELECT id FROM orders WHERE status IN ('placed', 'paid', 'shipped')
                AND id >= floor(random() * (SELECT last_value FROM order_ids)) ORDER BY id LIMIT 1
                FOR UPDATE SKIP LOCKED)
$$;

-- Cancelled orders are removed with their items: deletes and tombstones.
CREATE FUNCTION purge_cancelled() RETURNS void LANGUAGE sql VOLATILE AS $$
    WITH gone AS (
        DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE status = 'cancelled'
                                        ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED) RETURNING id)
    DELETE FROM order_items WHERE order_id IN (SELECT id FROM gone)
$$;

CREATE FUNCTION change_customer() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dice float := random();
    which bigint := (SELECT id FROM customers WHERE id >= floor(random() * 1000)
                     ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
BEGIN
    IF dice < 0.15 THEN
        PERFORM new_customer(nextval('customer_ids'));
    ELSIF dice < 0.25 THEN
        DELETE FROM customers WHERE id = which;
    ELSIF dice < 0.30 THEN -- the same key comes back as another row
        DELETE FROM customers WHERE id = which;
        PERFORM new_customer(which);
    ELSE
        UPDATE customers SET credit = credit + round((random() * 10)::numeric, 2),
            address = CASE WHEN random() < 0.2 THEN NULL ELSE address END,
            updated_at = clock_timestamp() WHERE id = which;
    END IF;
END $$;

CREATE FUNCTION change_product() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dice float := random();
    which text := (SELECT sku FROM products ORDER BY random() LIMIT 1);
BEGIN
    IF dice < 0.06 THEN -- a changed primary key: delete, tombstone and create under another key
        UPDATE products SET sku = 'R' || to_hex(floor(random() * 1e9)::bigint), changed_at = clock_timestamp()
            WHERE sku = which;
    ELSIF dice < 0.10 THEN
        DELETE FROM products WHERE sku = which;
    ELSIF dice < 0.16 THEN
        PERFORM new_product('N' || to_hex(floor(random() * 1e9)::bigint));
    ELSE
        UPDATE products SET stock = stock - 1, price = round(price * (0.98 + random() * 0.04)::numeric, 2),
            changed_at = clock_timestamp() WHERE sku = which;
    END IF;
END $$;

-- pgbench's accounts are closed and opened again now and then.
CREATE FUNCTION close_account() RETURNS void LANGUAGE plpgsql AS $$
DECLARE which int := 1 + floor(random() * 100000)::int;
BEGIN
    DELETE FROM pgbench_accounts WHERE aid = which;
    IF random() < 0.3 THEN
        INSERT INTO pgbench_accounts VALUES (which, 1, 0, 'reopened ' || which);
    END IF;
END $$;

-- A row of every type; one column in eight is null.
CREATE FUNCTION some_types(which int) RETURNS types LANGUAGE plpgsql AS $$
DECLARE
    n float := random();
    at timestamp(6) := timestamp '1970-01-01' + (random() * 60000 - 4000) * interval '1 day';
    t types;
BEGIN
    t.id := which;
    IF random() > 0.125 THEN t.c_smallint := floor(random() * 65536 - 32768); END IF;
    IF random() > 0.125 THEN t.c_int := floor(random() * 4294967296 - 2147483648); END IF;
    IF random() > 0.125 THEN t.c_bigint := floor(random() * 2e18 - 1e18)::bigint; END IF;
    IF random() > 0.125 THEN t.c_real := ((random() - 0.5) * 10 ^ floor(random() * 30 - 15))::real; END IF;
    IF random() > 0.125 THEN t.c_double := (random() - 0.5) * 10 ^ floor(random() * 200 - 100); END IF;
    IF random() > 0.125 THEN t.c_boolean := random() < 0.5; END IF;
    IF random() > 0.125 THEN t.c_text := repeat(some_name() || ' ', floor(random() * 5)::int); END IF;
    IF random() > 0.125 THEN t.c_varchar := left(some_name(), 40); END IF;
    IF random() > 0.125 THEN t.c_char := left(some_name(), floor(random() * 7)::int); END IF;
    IF random() > 0.125 THEN t.c_numeric_9_2 := round(((random() - 0.5) * 1e7)::numeric, 2); END IF;
    IF random() > 0.125 THEN t.c_numeric_18_0 := round(((random() - 0.5) * 1e18)::numeric); END IF;
    IF random() > 0.125 THEN t.c_numeric_38_10 := ((random() - 0.5)::numeric * 10 ^ 20) * 1234567.0000000001; END IF;
    IF random() > 0.125 THEN t.c_date := at::date; END IF;
    IF random() > 0.125 THEN t.c_time_3 := at::time; END IF;
    IF random() > 0.125 THEN t.c_time_6 := at::time; END IF;
    IF random() > 0.125 THEN t.c_timestamp_3 := at; END IF;
    IF random() > 0.125 THEN t.c_timestamp_6 := at; END IF;
    IF random() > 0.125 THEN t.c_timestamptz := at AT TIME ZONE pick(ARRAY['UTC','Asia/Tokyo','America/New_York']); END IF;
    IF random() > 0.125 THEN t.c_uuid := md5(random()::text)::uuid; END IF;
    IF random() > 0.125 THEN t.c_bytea := decode(left(md5(random()::text), 2 * floor(random() * 17)::int), 'hex'); END IF;
    IF random() > 0.125 THEN t.c_jsonb := jsonb_build_object('n', n, 'name', some_name(), 'deep',
        jsonb_build_array(1, NULL, true, jsonb_build_object('x', '\u2028"é'))); END IF;
    IF random() > 0.125 THEN t.c_ints := CASE WHEN random() < 0.2 THEN ARRAY[]::int[]
        ELSE ARRAY[floor(random() * 100)::int, NULL, -1] END; END IF;
    IF random() > 0.125 THEN t.c_texts := CASE WHEN random() < 0.2 THEN ARRAY[]::text[]
        ELSE ARRAY[some_name(), '', NULL, 'a"b,c\d'] END; END IF;
    RETURN t;
END $$;

CREATE FUNCTION change_types() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    dice float := random();
    which int := (SELECT id FROM types WHERE id > 10 AND id >= floor(random() * 1000)
                  ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
BEGIN
    IF dice < 0.25 THEN
        INSERT INTO types SELECT * FROM some_types(nextval('type_ids')::int);
    ELSIF dice < 0.40 THEN
        DELETE FROM types WHERE id = which;
    ELSE
        UPDATE types SET (c_int, c_double, c_text, c_numeric_9_2, c_numeric_38_10, c_date, c_timestamp_6,
                          c_bytea, c_jsonb, c_ints, c_texts) =
            (SELECT c_int, c_double, c_text, c_numeric_9_2, c_numeric_38_10, c_date, c_timestamp_6,
                    c_bytea, c_jsonb, c_ints, c_texts FROM some_types(which)) WHERE id = which;
    END IF;
END $$;

-- First rows: what the initial snapshot reads (op = r).
SELECT setseed(0.42);
SELECT count(new_customer(n)) FROM generate_series(1, 1000) n;
SELECT count(new_product('P' || lpad(n::text, 5, '0'))) FROM generate_series(1, 300) n;
SELECT count(place_order()) FROM generate_series(1, 1500) n;

-- The edges of each type have the ids 1 to 8.
INSERT INTO types (id) VALUES (1); -- all null
INSERT INTO types VALUES
    (2, 32767, 2147483647, 9223372036854775807, 3.4028235e38, 1.7976931348623157e308, true,
     E'tab\t newline\n nul-free \\ "quotes" \u2028 🙂 é e\u0301', repeat('x', 40), 'abcdef',
     9999999.99, 999999999999999999, 9999999999999999999999999999.9999999999,
     '9999-12-31', '23:59:59.999', '23:59:59.999999', '9999-12-31 23:59:59.999', '9999-12-31 23:59:59.999999',
     '9999-12-31 23:59:59.999999+00', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '\x00ff7f80', '{"a": {"b": [1, 2.50, "x"]}}',
     '{2147483647,-2147483648,NULL}', '{"","NULL",NULL,"ü"}'),
    (3, -32768, -2147483648, -9223372036854775808, 1.1754944e-38, 2.2250738585072014e-308, false,
     '', '', '', -9999999.99, -999999999999999999, -9999999999999999999999999999.9999999999,
     '0001-01-01', '00:00:00', '00:00:00', '0001-01-01 00:00:00', '0001-01-01 00:00:00.000001',
     '0001-01-01 00:00:00.000001+00', '00000000-0000-0000-0000-000000000000', '\x', '[]', '{}', '{}'),
    (4, 0, 0, 0, 0, 0, false, ' ', ' ', ' ', 0, 0, 0, '1970-01-01', '00:00:00.001', '00:00:00.000001',
     '1970-01-01 00:00:00', '1970-01-01 00:00:00', '1970-01-01 00:00:00+00', '00000000-0000-0000-0000-000000000001',
     '\x00', 'null', '{0}', '{" "}'),
    (5, -1, -1, -1, -0.1, -0.1, true, 'null', 'null', 'null', -0.01, -1, -0.0000000001, '1969-12-31', '12:00:00',
     '12:00:00', '1969-12-31 23:59:59.999', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00',
     '12345678-1234-1234-1234-123456789abc', '\xff', '"text"', '{-1}', '{null,"null"}'),
    (6, 1, 1, 9007199254740993, 16777217, 0.1, true, '0', '0', '0', 1.50, 9007199254740993, 0.3333333333,
     '2024-02-29', '01:02:03.004', '01:02:03.000004', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789012',
     '2024-02-29 12:34:56.789012+05:30', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'weir', '1e400', '{1,2,3}', '{a,b}');
INSERT INTO types (id, c_real, c_double) VALUES (7, 'Infinity', '-Infinity'), (8, 'NaN', 'NaN');
INSERT INTO types SELECT t.* FROM generate_series(11, 300) n, some_types(n) t;
