-- What every table and function leans on: the clock, ids and keys.
-- Session settings are read here and nowhere else.

-- Everybody can set a setting, and a row that is dated by another's clock stops its readers. So it
-- is asked who logged in: functions run as the owner, whoever calls them.
--
-- raises  ZD201 not within 100 years
create or replace function dripdrop._set_time(setting text, at timestamptz)
returns timestamptz
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
  v_time timestamptz;
begin
  if not exists (
    select from pg_catalog.pg_roles as r
    where (
        r.rolname in ('dripdrop_owner', 'dripdrop_admin', 'dripdrop_sender')
        or r.oid = (
          select n.nspowner from pg_catalog.pg_namespace as n where n.nspname = 'dripdrop'
        )
      )
      and pg_catalog.pg_has_role(session_user, r.oid, 'member')
  ) then
    return at;
  end if;
  v_time := setting::timestamptz;
  if v_time not between at - interval '100 years' and at + interval '100 years' then
    raise exception 'dripdrop.now is not within 100 years' using
      errcode = 'ZD201', column = 'dripdrop.now',
      hint = 'reset dripdrop.now goes by the real clock.';
  end if;
  return v_time;
end
$$;

comment on function dripdrop._set_time(text, timestamptz) is
  'The time that a session has set, if its user is an admin, a sender or the owner, else another.';

-- The only clock. A session sets dripdrop.now to run under another time: tests, the demo,
-- simulation. statement_timestamp(), because it moves inside a long transaction (unlike now())
-- and yet stays the same within one statement (unlike clock_timestamp()), so that one decision
-- sees one time. Inlined where it is called; only a session with the setting pays for more.
create or replace function dripdrop._now()
returns timestamptz
language sql
stable
parallel safe
return case
  when coalesce(current_setting('dripdrop.now', true), '') = '' then statement_timestamp()
  else dripdrop._set_time(current_setting('dripdrop.now', true), statement_timestamp())
end;

comment on function dripdrop._now() is
  'The time of every decision: the setting dripdrop.now of who may set it, else the statement''s.';

-- Time-ordered ids, so that new rows land at the right-hand edge of their indexes
-- (RFC 9562, section 5.7). They use the machine's clock, never dripdrop.now:
-- an id's order must not move with a test's time.
do $$
begin
  if current_setting('server_version_num')::int >= 180000 then
    execute 'create or replace function dripdrop._uuidv7()
      returns uuid language sql volatile parallel safe
      return pg_catalog.uuidv7()';
  else
    -- 48 bits of milliseconds, the version, 12 bits of their fraction (RFC 9562, section 6.2,
    -- method 3), and the rest of a random uuid: ids made one after the other are in order.
    execute $body$create or replace function dripdrop._uuidv7()
      returns uuid language sql volatile parallel safe
      return (
        overlay(
          lpad(to_hex(floor(extract(epoch from clock_timestamp()) * 1000 * 4096)::bigint), 15, '0')
          placing '7' from 13 for 0
        )
        || substr(gen_random_uuid()::text, 20)
      )::uuid$body$;
  end if;
end
$$;

comment on function dripdrop._uuidv7() is 'A time-ordered uuid (RFC 9562, version 7).';

-- convert_to() is only stable, because encodings can be added; UTF8 does not change.
create or replace function dripdrop._digest(content text)
returns text
language sql
immutable
parallel safe
return encode(sha256(convert_to(content, 'UTF8')), 'hex');

comment on function dripdrop._digest(text) is 'Hex SHA-256 of a text in UTF-8.';

-- What a provider may deduplicate on: the same over retries and deferrals,
-- another one after a replay.
create or replace function dripdrop.idempotency_key(
  enrollment_id uuid,
  step_id uuid,
  occurrence int,
  attempt_window int
)
returns text
language sql
immutable
parallel safe
return encode(
  sha256(
    (
      enrollment_id::text
      || ':' || step_id::text
      || ':' || occurrence::text
      || ':' || attempt_window::text
    )::bytea
  ),
  'hex'
);

comment on function dripdrop.idempotency_key(uuid, uuid, int, int) is
  'What a provider may deduplicate on: hex SHA-256 of enrolment:step:occurrence:attempt_window.';

-- Row-level security asks this. Nothing set means nothing visible; the global scope is named,
-- never implied.
create or replace function dripdrop._visible(tenant_key text)
returns boolean
language sql
stable
parallel safe
return coalesce(
  nullif(current_setting('dripdrop.tenant_key', true), '') = coalesce(tenant_key, ':global'),
  false
);

comment on function dripdrop._visible(text) is
  'Whether row-level security shows a tenant''s row: the setting dripdrop.tenant_key names it '
  '(:global for null).';
