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

-- Every limit on every message. What holds for all messages of a step through a sender is looked up
-- once. Of the limits for one scope the most specific holds, and counts where it is written: the
-- step's, else the sender's, else the tenant's, else everybody's.
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
  sender as materialized (
    select
      p.step_id,
      p.adapter_id,
      s.tenant_key,
      s.channel,
      s.config,
      s.sequence_version_id,
      a as adapter,
      coalesce(a.time_zone, dripdrop._default_time_zone(a.tenant_key)) as time_zone,
      lower(
        substring(
          coalesce(s.template_content ->> 'from', a.config ->> 'from') from '@([a-zA-Z0-9.-]+)'
        )
      ) as domain
    from (select distinct m.step_id, m.adapter_id from message as m) as p
    join dripdrop.steps as s on s.id = p.step_id
    join dripdrop.channel_adapters as a on a.id = p.adapter_id
  ),
  rate as (
    select
      n.step_id,
      n.adapter_id,
      n.time_zone,
      case when scope.name = 'adapter' then (n.adapter).tenant_key else n.tenant_key end
        as tenant_key,
      scope.name as scope,
      written.owner_id,
      case scope.name
        when 'adapter' then n.adapter_id::text
        when 'provider' then n.channel || ':' || (n.adapter).provider
        when 'domain' then n.domain
      end as subject,
      -- A ring of at most 5000 times stands for any count: 6000 a minute is 3000 in half a minute.
      ceil((written.rate ->> 'count')::numeric / 5000) as parts,
      (written.rate ->> 'count')::numeric as max_count,
      (written.rate ->> 'seconds')::numeric as seconds
    from sender as n
    cross join unnest(array['adapter', 'provider', 'domain', 'recipient_domain', 'recipient'])
      as scope (name)
    cross join lateral (
      select w.owner_id, w.rate
      from (
        values
        (1, n.step_id, n.config -> 'rate_limits' -> scope.name),
        (2, n.adapter_id, (n.adapter).rate_limits -> scope.name),
        (
          3,
          null,
          (
            select t.rate_limits -> scope.name
            from dripdrop.tenant_settings as t
            where t.tenant_key = n.tenant_key
          )
        ),
        (
          4,
          null,
          (
            select t.rate_limits -> scope.name
            from dripdrop.tenant_settings as t
            where t.tenant_key is null
          )
        )
      ) as w (place, owner_id, rate)
      where w.rate is not null
      order by w.place
      limit 1
    ) as written
    where written.rate <> 'false'
  ),
  limited as materialized (
    select
      r.step_id, r.adapter_id, r.time_zone, r.tenant_key, r.scope, r.owner_id, r.subject,
      floor(r.max_count / r.parts)::int as max_count,
      make_interval(secs => (r.seconds / r.parts)::float8) as per
    from rate as r
    where r.subject is not null or r.scope in ('recipient_domain', 'recipient')
    union all
    select
      n.step_id, n.adapter_id, n.time_zone, (n.adapter).tenant_key, l.scope, l.owner_id, '',
      l.max_count, l.per
    from sender as n
    cross join lateral (
      select dripdrop._daily_cap(
        n.adapter, (_limits_on.at at time zone n.time_zone)::date, n.time_zone
      ) as today
    ) as cap
    left join dripdrop.adapter_sequence_budgets as b
      on b.adapter_id = n.adapter_id and b.sequence_version_id = n.sequence_version_id
    cross join lateral (
      values
      ('gap', n.adapter_id, 1, make_interval(secs => nullif((n.adapter).min_gap_seconds, 0))),
      ('day', n.adapter_id, cap.today, null),
      (
        'share', b.id,
        -- A share of no limit is counted all the same: weights go by what was used.
        case
          when b.id is not null
          then greatest(coalesce(cap.today * b.max_share_pct::bigint / 100, 2147483647), 1)::int
        end,
        null
      ),
      ('step_day', n.step_id, (n.config ->> 'daily_cap')::int, null)
    ) as l (scope, owner_id, max_count, per)
    where case l.scope when 'gap' then l.per is not null else l.max_count is not null end
    union all
    select
      n.step_id, n.adapter_id, n.time_zone, n.tenant_key, 'subscriber', f.id, null, f.max_messages,
      f.per
    from sender as n
    join dripdrop.frequency_caps as f
      on (f.tenant_key = n.tenant_key or f.tenant_key is null)
      and (f.channel = n.channel or f.channel is null)
      and (f.topic = n.config ->> 'topic' or f.topic is null)
      and (f.kind = 'all' or n.config ->> 'kind' is distinct from 'transactional')
  )
  select
    m.execution_id,
    l.tenant_key,
    l.scope,
    l.owner_id,
    subject.value,
    l.max_count,
    l.per,
    l.time_zone,
    c.id
  from message as m
  join limited as l on l.step_id = m.step_id and l.adapter_id = m.adapter_id
  cross join lateral (
    select case l.scope
      when 'recipient' then m.recipient
      when 'recipient_domain' then nullif(split_part(m.recipient, '@', 2), '')
      when 'subscriber' then m.subscriber_type || ':' || m.subscriber_id
      else l.subject
    end as value
  ) as subject
  left join dripdrop.counters as c
    on c.subject = subject.value
    and c.scope = l.scope
    and (c.owner_id = l.owner_id or (c.owner_id is null and l.owner_id is null))
    and (c.tenant_key = l.tenant_key or (c.tenant_key is null and l.tenant_key is null))
  where subject.value is not null
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
