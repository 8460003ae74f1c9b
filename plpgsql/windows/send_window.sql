-- raises  ZD201 with the path of the fault
create or replace function dripdrop._check_send_window(send_window jsonb, path text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_fault record;
begin
  perform dripdrop._check_document(send_window, 'send_window', path || '.');
  if send_window = 'false' then
    return;
  end if;
  select f.* into v_fault from dripdrop._time_window_fault(send_window) as f limit 1;
  if found then
    raise exception '%', v_fault.message using
      errcode = 'ZD201', column = path || '.' || v_fault.field, hint = v_fault.hint;
  end if;
end
$$;

comment on function dripdrop._check_send_window(jsonb, text) is
  'Raises ZD201 on a send window that is none.';

-- raises  ZD201 with the path of the fault, ZD202 unknown channel
create or replace function dripdrop._check_channel_send_windows(send_windows jsonb)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(send_windows) <> 'object' then
    raise exception 'channel_send_windows is not an object' using
      errcode = 'ZD201', column = 'channel_send_windows',
      hint = 'Write for example {"sms": {"start": "09:00", "end": "20:00"}, "webhook": false}.';
  end if;
  perform
    dripdrop._check_channel(w.channel),
    dripdrop._check_send_window(w.send_window, 'channel_send_windows.' || w.channel)
  from jsonb_each(send_windows) as w (channel, send_window);
end
$$;

comment on function dripdrop._check_channel_send_windows(jsonb) is
  'Raises unless an object holds a send window, or false, for each channel it names.';

-- The tenant's word comes before that of all tenants, and a channel's before that for all channels.
create or replace function dripdrop._send_window(tenant_key text, channel text)
returns jsonb
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(s.channel_send_windows -> _send_window.channel, s.send_window)
  from dripdrop.tenant_settings as s
  where (s.tenant_key = _send_window.tenant_key or s.tenant_key is null)
    and coalesce(s.channel_send_windows -> _send_window.channel, s.send_window) is not null
  order by s.tenant_key nulls last
  limit 1
$$;

comment on function dripdrop._send_window(text, text) is
  'The send window of a tenant''s channel where the step says nothing: false where it is switched '
  'off, null where nobody says anything.';

-- A step without a window is not looked at, nor is one whose window is open.
create or replace function dripdrop._shut_window(
  send_window jsonb,
  time_zone text,
  tenant_key text,
  at timestamptz
)
returns table (opens_at timestamptz, jitter interval, hours text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    w.opens_at,
    least(
      coalesce((send_window ->> 'jitter')::interval, interval '0'), w.closes_at - w.opens_at
    ),
    dripdrop._describe_send_window(send_window, _shut_window.time_zone)
  from dripdrop._next_window(
    send_window, _shut_window.time_zone, _shut_window.tenant_key, _shut_window.at
  ) as w
  where send_window is not null and w.opens_at > _shut_window.at
$$;

comment on function dripdrop._shut_window(jsonb, text, text, timestamptz) is
  'When a send window that is shut opens, over what time its messages are spread then, and its '
  'hours; no row if it is open.';

create or replace function dripdrop._describe_send_window(send_window jsonb, time_zone text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(
    ', ',
    format(
      '%s to %s',
      coalesce(send_window ->> 'start', '00:00'), coalesce(send_window ->> 'end', '24:00')
    ),
    (
      select string_agg(d.day, ' ' order by d.place)
      from jsonb_array_elements_text(nullif(send_window -> 'days', 'null'))
      with ordinality as d (day, place)
    ),
    'less the holidays of ' || (send_window ->> 'calendar'),
    time_zone
  )
$$;

comment on function dripdrop._describe_send_window(jsonb, text) is
  'A send window as people read it.';

-- raises  ZD201 bad window, no time to count from, or one that does not open; ZD204 unknown zone
create or replace function dripdrop.next_opening(
  tenant_key text,
  send_window jsonb,
  time_zone text,
  after timestamptz
)
returns timestamptz
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_window record;
begin
  perform dripdrop._check_json(send_window, 'send_window');
  perform dripdrop._check_send_window(send_window, 'send_window');
  perform dripdrop._check_time_zone(time_zone, 'time_zone');
  if after is null then
    raise exception 'after is missing' using
      errcode = 'ZD201', column = 'after', hint = 'Count from a time.';
  end if;
  perform dripdrop._check_time(after, 'after');
  if send_window = 'false' then
    return after;
  end if;
  v_window := dripdrop._next_window(
    send_window, next_opening.time_zone, next_opening.tenant_key, next_opening.after
  );
  if v_window.closes_at is null then
    raise exception 'the window does not open within 400 days' using
      errcode = 'ZD201', column = 'send_window',
      hint = 'The holidays of its calendar leave it no day.';
  end if;
  return greatest(v_window.opens_at, after);
end
$$;

comment on function dripdrop.next_opening(text, jsonb, text, timestamptz) is
  'The first time, not before a given one, at which a send window is open for a subscriber in a '
  'time zone. send_window: as in a step''s config; the holidays are the tenant''s.';
