-- Days are calendar days of the sender, the first one included. Without a daily_cap the ramp goes
-- on.
create or replace function dripdrop._daily_cap(
  adapter dripdrop.channel_adapters,
  day date,
  time_zone text
)
returns int
language sql
immutable
parallel safe
return least(
  (adapter).daily_cap,
  (adapter).ramp_floor + least(
    (adapter).ramp_increment::bigint * greatest(
      day - ((adapter).ramp_started_at at time zone time_zone)::date, 0
    ),
    1000000000
  )
)::int;

comment on function dripdrop._daily_cap(dripdrop.channel_adapters, date, text) is
  'How many messages a sender may send on one of its days; null is no limit.';

-- Most messages have no limits, and nothing is looked up for them.
create or replace function dripdrop._has_limits(
  step dripdrop.steps,
  adapter dripdrop.channel_adapters
)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    (adapter).daily_cap is not null
    or (adapter).ramp_floor is not null
    or coalesce((adapter).min_gap_seconds > 0, false)
    or coalesce((adapter).rate_limits <> '{}', false)
    or (step).config ?| array['rate_limits', 'daily_cap']
    or exists (
      select from dripdrop.tenant_settings as t
      where (t.tenant_key = (step).tenant_key or t.tenant_key is null) and t.rate_limits <> '{}'
    )
    or exists (
      select from dripdrop.frequency_caps as c
      where c.tenant_key = (step).tenant_key or c.tenant_key is null
    )
    or exists (
      select from dripdrop.adapter_sequence_budgets as b
      where b.adapter_id = (adapter).id and b.sequence_version_id = (step).sequence_version_id
    )
$$;

comment on function dripdrop._has_limits(dripdrop.steps, dripdrop.channel_adapters) is
  'Whether a message of this step through this sender may be subject to a limit.';

-- Of the rates for one scope the most specific holds, and counts where it is written: the step's,
-- else the sender's, else the tenant's, else everybody's.
create or replace function dripdrop._written_rates(steps uuid[], adapters uuid[])
returns table (step_id uuid, adapter_id uuid, scope text, owner_id uuid, rate jsonb)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select distinct on (w.step_id, w.adapter_id, w.scope)
    w.step_id, w.adapter_id, w.scope, w.owner_id, w.rate
  from (
    select p.step_id, p.adapter_id, 1 as place, r.key as scope, s.id as owner_id, r.value as rate
    from unnest(steps, adapters) as p (step_id, adapter_id)
    join dripdrop.steps as s on s.id = p.step_id
    cross join lateral jsonb_each(s.config -> 'rate_limits') as r
    union all
    select p.step_id, p.adapter_id, 2, r.key, a.id, r.value
    from unnest(steps, adapters) as p (step_id, adapter_id)
    join dripdrop.channel_adapters as a on a.id = p.adapter_id
    cross join lateral jsonb_each(a.rate_limits) as r
    union all
    select
      p.step_id, p.adapter_id, case when t.tenant_key is null then 4 else 3 end, r.key, null,
      r.value
    from unnest(steps, adapters) as p (step_id, adapter_id)
    join dripdrop.steps as s on s.id = p.step_id
    join dripdrop.tenant_settings as t on t.tenant_key = s.tenant_key or t.tenant_key is null
    cross join lateral jsonb_each(t.rate_limits) as r
  ) as w
  order by w.step_id, w.adapter_id, w.scope, w.place
$$;

comment on function dripdrop._written_rates(uuid[], uuid[]) is
  'The rates that hold for messages of steps through adapters, one per scope.';

-- A ring of at most 5000 times stands for any count: 6000 a minute is 3000 in half a minute.
create or replace function dripdrop._rates_of(steps uuid[], adapters uuid[])
returns table (
  step_id uuid,
  adapter_id uuid,
  tenant_key text,
  scope text,
  owner_id uuid,
  subject text,
  max_count int,
  per interval
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    r.step_id, r.adapter_id, r.tenant_key, r.scope, r.owner_id, r.subject,
    floor(r.max_count / r.parts)::int,
    make_interval(secs => (r.seconds / r.parts)::float8)
  from (
    select
      w.step_id,
      w.adapter_id,
      case w.scope when 'adapter' then a.tenant_key else s.tenant_key end as tenant_key,
      w.scope,
      w.owner_id,
      case w.scope
        when 'adapter' then a.id::text
        when 'provider' then s.channel || ':' || a.provider
        when 'domain' then lower(
          substring(
            coalesce(s.template_content ->> 'from', a.config ->> 'from') from '@([a-zA-Z0-9.-]+)'
          )
        )
      end as subject,
      ceil((w.rate ->> 'count')::numeric / 5000) as parts,
      (w.rate ->> 'count')::numeric as max_count,
      (w.rate ->> 'seconds')::numeric as seconds
    from dripdrop._written_rates(steps, adapters) as w
    join dripdrop.steps as s on s.id = w.step_id
    join dripdrop.channel_adapters as a on a.id = w.adapter_id
    where w.rate <> 'false'
  ) as r
$$;

comment on function dripdrop._rates_of(uuid[], uuid[]) is
  'Rates on messages of steps through adapters; subject is null where the message says it.';

create or replace function dripdrop._caps_of(steps uuid[], adapters uuid[], at timestamptz)
returns table (
  step_id uuid,
  adapter_id uuid,
  tenant_key text,
  scope text,
  owner_id uuid,
  subject text,
  max_count int,
  per interval
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  sender as materialized (
    select
      s.id as step_id,
      s.config,
      a.id as adapter_id,
      a.tenant_key,
      make_interval(secs => nullif(a.min_gap_seconds, 0)) as gap,
      dripdrop._daily_cap(a, (_caps_of.at at time zone zone.name)::date, zone.name) as daily_cap,
      b.id as budget_id,
      b.max_share_pct
    from unnest(steps, adapters) as p (step_id, adapter_id)
    join dripdrop.steps as s on s.id = p.step_id
    join dripdrop.channel_adapters as a on a.id = p.adapter_id
    cross join lateral (
      select coalesce(a.time_zone, dripdrop._default_time_zone(a.tenant_key)) as name
    ) as zone
    left join dripdrop.adapter_sequence_budgets as b
      on b.adapter_id = a.id and b.sequence_version_id = s.sequence_version_id
  )
  select n.step_id, n.adapter_id, n.tenant_key, 'gap', n.adapter_id, '', 1, n.gap
  from sender as n
  where n.gap is not null
  union all
  select n.step_id, n.adapter_id, n.tenant_key, 'day', n.adapter_id, '', n.daily_cap, null
  from sender as n
  where n.daily_cap is not null
  union all
  -- A share of no limit is counted all the same: weights go by what was used.
  select
    n.step_id, n.adapter_id, n.tenant_key, 'share', n.budget_id, '',
    greatest(coalesce(n.daily_cap * n.max_share_pct::bigint / 100, 2147483647), 1)::int, null
  from sender as n
  where n.budget_id is not null
  union all
  select
    n.step_id, n.adapter_id, n.tenant_key, 'step_day', n.step_id, '',
    (n.config ->> 'daily_cap')::int, null
  from sender as n
  where n.config ->> 'daily_cap' is not null
$$;

comment on function dripdrop._caps_of(uuid[], uuid[], timestamptz) is
  'Gaps and daily limits on messages of steps through adapters.';

create or replace function dripdrop._frequency_caps_of(steps uuid[], adapters uuid[])
returns table (
  step_id uuid,
  adapter_id uuid,
  tenant_key text,
  scope text,
  owner_id uuid,
  subject text,
  max_count int,
  per interval
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    s.id, p.adapter_id, s.tenant_key, 'subscriber', f.id, null::text, f.max_messages, f.per
  from unnest(steps, adapters) as p (step_id, adapter_id)
  join dripdrop.steps as s on s.id = p.step_id
  join dripdrop.frequency_caps as f
    on (f.tenant_key = s.tenant_key or f.tenant_key is null)
    and (f.channel = s.channel or f.channel is null)
    and (f.topic = s.config ->> 'topic' or f.topic is null)
    and (f.kind = 'all' or s.config ->> 'kind' is distinct from 'transactional')
$$;

comment on function dripdrop._frequency_caps_of(uuid[], uuid[]) is
  'How often subscribers may hear from messages of steps; the message says which subscriber.';

-- Every limit on every message. What holds for all messages of a step through a sender is looked up
-- once.
create or replace function dripdrop._limits_on(decisions dripdrop._decision[], at timestamptz)
returns setof dripdrop._limit
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  message as materialized (
    select
      d.execution_id, d.adapter_id, d.recipient, x.step_id, e.subscriber_type, e.subscriber_id
    from unnest(decisions) as d
    join dripdrop.step_executions as x on x.id = d.execution_id
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    where d.limited and d.action = 'send'
  ),
  pair as materialized (
    select array_agg(p.step_id) as steps, array_agg(p.adapter_id) as adapters
    from (select distinct m.step_id, m.adapter_id from message as m) as p
  ),
  limited as materialized (
    select l.*, coalesce(a.time_zone, dripdrop._default_time_zone(a.tenant_key)) as time_zone
    from (
      select r.*
      from pair as p
      cross join lateral dripdrop._rates_of(p.steps, p.adapters) as r
      where r.subject is not null or r.scope in ('recipient_domain', 'recipient')
      union all
      select c.*
      from pair as p
      cross join lateral dripdrop._caps_of(p.steps, p.adapters, _limits_on.at) as c
      union all
      select f.*
      from pair as p
      cross join lateral dripdrop._frequency_caps_of(p.steps, p.adapters) as f
    ) as l
    join dripdrop.channel_adapters as a on a.id = l.adapter_id
  ),
  asked as (
    select
      m.execution_id, l.tenant_key, l.scope, l.owner_id, l.max_count, l.per, l.time_zone,
      case l.scope
        when 'recipient' then m.recipient
        when 'recipient_domain' then nullif(split_part(m.recipient, '@', 2), '')
        when 'subscriber' then m.subscriber_type || ':' || m.subscriber_id
        else l.subject
      end as subject
    from message as m
    join limited as l on l.step_id = m.step_id and l.adapter_id = m.adapter_id
  )
  select
    n.execution_id, n.tenant_key, n.scope, n.owner_id, n.subject, n.max_count, n.per, n.time_zone,
    c.id
  from asked as n
  -- One by one, by key: planned while there are few counters, a join would read all of them.
  left join lateral (
    select k.id
    from dripdrop.counters as k
    where k.subject = n.subject
      and k.scope = n.scope
      and (k.owner_id = n.owner_id or (k.owner_id is null and n.owner_id is null))
      and (k.tenant_key = n.tenant_key or (k.tenant_key is null and n.tenant_key is null))
    limit 1
  ) as c on true
  where n.subject is not null
$$;

comment on function dripdrop._limits_on(dripdrop._decision[], timestamptz) is
  'The limits each message is subject to.';

create or replace function dripdrop._limit_reason(scope text)
returns text
language sql
immutable
parallel safe
return case scope
  when 'gap' then 'min_gap'
  when 'day' then 'daily_cap'
  when 'share' then 'share_cap'
  when 'step_day' then 'step_daily_cap'
  when 'subscriber' then 'frequency_cap'
  else 'rate_limit'
end;

comment on function dripdrop._limit_reason(text) is 'The reason code of a limit that is used up.';

create or replace function dripdrop._describe_limit(
  scope text,
  subject text,
  max_count int,
  per interval
)
returns text
language sql
immutable
parallel safe
return concat_ws(
  ' ',
  scope,
  nullif(subject, ''),
  max_count,
  case when per is not null then 'per ' || per else 'a day' end
);

comment on function dripdrop._describe_limit(text, text, int, interval) is
  'A limit as people read it.';
