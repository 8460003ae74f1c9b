-- What goes wrong while it runs, as startup_check() lists it. Each of these reads a small table or
-- a partial index, so that it may be asked every minute. blocks is false where it is the
-- recipients' affair: no sender, and nobody else's message, is held up.

create or replace function dripdrop._in_utc(at timestamptz)
returns text
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
return to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"');

comment on function dripdrop._in_utc(timestamptz) is 'A time as people read it.';

create or replace function dripdrop._messages(count bigint)
returns text
language sql
immutable
parallel safe
return count || case count when 1 then ' message' else ' messages' end;

comment on function dripdrop._messages(bigint) is 'A number of messages, in words.';

-- One or a million: of those that wait for a circuit no more are counted.
create or replace function dripdrop._count_behind(circuit_id uuid)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select case when count(*) > 100000 then 'more than ' else '' end
    || dripdrop._messages(least(count(*), 100000))
  from (
    select from dripdrop.step_executions as x
    where x.circuit_id = _count_behind.circuit_id
    limit 100001
  ) as n
$$;

comment on function dripdrop._count_behind(uuid) is 'How many messages wait for a circuit.';

create or replace function dripdrop._circuit_problems(at timestamptz)
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'circuit_open',
    format(
      '%s (tenant %s) is away since %s: %s; %s waiting, %s',
      dripdrop._name_of_server(c.adapter_id, c.http_hook_id, ''),
      coalesce(c.tenant_key, 'global'),
      dripdrop._in_utc(c.started_at),
      concat_ws(', ', c.reason, nullif(c.detail, '')),
      dripdrop._count_behind(c.id),
      case
        when c.until <= _circuit_problems.at then 'the next one tries it'
        when c.state = 'probing' then 'one tries it'
        else 'it is tried again at ' || dripdrop._in_utc(c.until)
      end
    ),
    case
      when c.adapter_id is null then 'Mend the endpoint; it is tried again by itself.'
      else 'Mend the server or the account; it is tried again by itself, and at once after '
        || 'resume_adapter().'
    end,
    true
  from dripdrop.sender_states as c
  where c.ended_at is null and c.state <> 'closed' and c.host = ''
  union all
  (
    select
      'hosts_away',
      format(
        '%s (tenant %s): %s hosts of messages with a URL of their own are away, for example '
        '%s (%s)',
        dripdrop._name_of_server(c.adapter_id, c.http_hook_id, ''),
        coalesce(c.tenant_key, 'global'),
        count(*),
        (array_agg(c.host order by c.started_at))[1],
        (array_agg(c.reason order by c.started_at))[1]
      ),
      'list_circuits() shows them; each is tried again by itself.',
      false
    from dripdrop.sender_states as c
    where c.ended_at is null and c.state <> 'closed' and c.host <> ''
    group by c.tenant_key, c.adapter_id, c.http_hook_id
  )
$$;

comment on function dripdrop._circuit_problems(timestamptz) is
  'Senders and endpoints that are away, as startup_check() lists them.';

create or replace function dripdrop._held_problems()
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    case h.waits_for when 'release' then 'held_as_stale' else 'held_without_sender' end,
    format(
      '%s over %s (tenant %s) held since %s: %s',
      dripdrop._messages(h.messages), h.channel, coalesce(h.tenant_key, 'global'),
      dripdrop._in_utc(h.since), h.reason
    ),
    case
      when h.waits_for = 'release'
      then 'release() sends them, skip_held() leaves them out: by sequence, step or adapter.'
      when h.reason = 'adapter_inactive'
      then 'update_channel_adapter(…, active => true), or name another; they go on by themselves.'
      when h.reason = 'no_adapter'
      then 'create_channel_adapter(…, is_default => true); they go on by themselves.'
      else 'Name a sender of the channel that the tenant may use; they go on by themselves.'
    end,
    true
  from (
    select
      x.waits_for, x.reason, x.tenant_key, x.channel, count(*) as messages,
      min(x.reason_at) as since
    from dripdrop.step_executions as x
    where x.waits_for in ('release', 'sender')
    group by x.waits_for, x.reason, x.tenant_key, x.channel
    order by messages desc
    limit 100
  ) as h
$$;

comment on function dripdrop._held_problems() is
  'What is held for want of a sender, or until somebody decides, as startup_check() lists it.';

-- A row whose enrolment is locked for a moment is nothing to tell anybody.
create or replace function dripdrop._fault_problems(at timestamptz)
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    g.problem,
    format(
      '%s since %s, stage %s: %s; for example enrolment %s (tenant %s), failed attempts: %s, the '
      'next at %s',
      dripdrop._messages(g.messages), dripdrop._in_utc(g.since), g.stage,
      concat_ws(
        ' ', nullif(g.sqlstate, 'XX000'), dripdrop._without_people((g.example).message)
      ),
      coalesce(x.enrollment_id, (g.example).execution_id), coalesce(x.tenant_key, 'global'),
      (g.example).attempts, dripdrop._in_utc((g.example).until)
    ),
    case g.problem
      when 'held_for_key' then 'Give the daemon its key, DRIPDROP_KEY; they go on by themselves.'
      when 'result_not_recorded'
      then 'They were handed over; what is known is kept, and recorded as soon as it can be.'
      else 'explain() shows it; they are tried again by themselves, or mend what raises this.'
    end,
    true
  from (
    select
      n.problem, f.stage, f.sqlstate, count(*) as messages, min(f.first_at) as since,
      (array_agg(f order by f.first_at, f.execution_id))[1] as example
    from dripdrop.faults as f
    cross join lateral (
      select
        case
          when f.result is not null then 'result_not_recorded'
          when f.message like 'vault_error:%' then 'held_for_key'
          else 'row_fault'
        end as problem
    ) as n
    where case
      when f.result is not null then f.first_at <= _fault_problems.at - interval '10 seconds'
      else f.until > _fault_problems.at
    end
    group by n.problem, f.stage, f.sqlstate
    order by messages desc
    limit 100
  ) as g
  left join dripdrop.step_executions as x on x.id = (g.example).execution_id
$$;

comment on function dripdrop._fault_problems(timestamptz) is
  'What stages could not deal with, as startup_check() lists it.';

create or replace function dripdrop._retry_problems(at timestamptz)
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'retrying',
    format(
      '%s over %s (tenant %s) failing for the time being, the first since %s, most with %s; '
      'the last is given up at %s',
      dripdrop._messages(r.messages),
      coalesce(dripdrop._name_of_server(r.adapter_id, null, ''), r.channel),
      coalesce(r.tenant_key, 'global'),
      dripdrop._in_utc(r.since),
      r.reason,
      dripdrop._in_utc(r.until)
    ),
    'explain() shows each with its last error and its next try; nobody else waits for them.',
    false
  from (
    select
      x.tenant_key, x.adapter_id, x.channel, count(*) as messages,
      min(x.failing_since) as since, mode() within group (order by x.reason) as reason,
      max(
        x.failing_since + coalesce((s.config ->> 'retry_for')::interval, c.retry_for)
      ) as until
    from dripdrop.step_executions as x
    join dripdrop.steps as s on s.id = x.step_id
    left join dripdrop.channels as c on c.channel = x.channel
    where x.failing_since <= _retry_problems.at - interval '1 hour' and x.ended_at is null
    group by x.tenant_key, x.adapter_id, x.channel
    order by messages desc
    limit 100
  ) as r
$$;

comment on function dripdrop._retry_problems(timestamptz) is
  'Messages that have failed for the time being for an hour, as startup_check() lists them.';

create or replace function dripdrop._overdue_problems(at timestamptz)
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'overdue',
    format(
      '%s%s due since %s, and not taken up; %s',
      case when count(*) > 1000 then 'more than ' end,
      dripdrop._messages(least(count(*), 1000)),
      dripdrop._in_utc(min(n.due_at)),
      coalesce(
        'a worker was last seen at ' || dripdrop._in_utc(
          (select max(w.seen_at) from dripdrop.workers as w)
        ),
        'no worker was seen for a day'
      )
    ),
    'Start "dripdrop run"; its log says what is in the way.',
    true
  from (
    select x.due_at
    from dripdrop.step_executions as x
    where x.due_at <= _overdue_problems.at - interval '5 minutes'
      and x.waits_for is distinct from 'limit'
      and not exists (
        select from dripdrop.faults as f
        where f.execution_id = x.id and f.until > _overdue_problems.at
      )
    order by x.due_at
    limit 1001
  ) as n
  having count(*) > 0
$$;

comment on function dripdrop._overdue_problems(timestamptz) is
  'What has been due for five minutes, as startup_check() lists it.';

-- What somebody has stopped, and may have forgotten.
create or replace function dripdrop._stop_problems()
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'sending_paused',
    format(
      '%s (tenant %s) is paused since %s by %s%s',
      case
        when p.subject is null then p.scope else p.scope || ' ' || dripdrop._quoted(p.subject)
      end,
      coalesce(p.tenant_key, case p.scope when 'everything' then 'all' else 'global' end),
      dripdrop._in_utc(p.paused_at),
      p.paused_by,
      ': ' || p.reason
    ),
    'resume_sending() lets it go on, at no more than the senders'' limits.',
    true
  from dripdrop.sending_pauses as p
  union all
  select
    'sender_rests',
    format(
      'sender %s (tenant %s) rests since %s: %s%s',
      dripdrop._quoted(a.name), coalesce(a.tenant_key, 'global'), dripdrop._in_utc(r.started_at),
      r.reason, ', until ' || dripdrop._in_utc(r.until)
    ),
    'resume_adapter() ends it.',
    true
  from dripdrop.channel_adapters as a
  cross join lateral (
    select n.started_at, n.reason, n.until
    from dripdrop.adapter_rests as n
    where n.adapter_id = a.id and n.ended_at is null
    order by n.started_at desc
    limit 1
  ) as r
  where a.active and dripdrop._is_resting(a.health_state, a.resting_until, dripdrop._now())
$$;

comment on function dripdrop._stop_problems() is
  'What is paused and what rests, as startup_check() lists it.';

-- A journey that ends with a message which failed is over: nobody hears of it otherwise. What
-- bounced is the recipients' affair.
create or replace function dripdrop._journey_problems(at timestamptz)
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'journeys_failed',
    format(
      '%s of sequence %s (tenant %s) ended within a day because step %s failed: %s; for example '
      'enrolment %s',
      j.number || case j.number when 1 then ' journey' else ' journeys' end,
      dripdrop._quoted(j.sequence_key), coalesce(j.tenant_key, 'global'),
      dripdrop._quoted(j.step_key), j.reason, j.example
    ),
    'explain() shows why; mend that, and replay() each failed message.',
    not j.bounced
  from (
    select
      q.key as sequence_key, n.tenant_key, s.key as step_key, x.reason, r.bounced,
      count(*) as number, (array_agg(n.id order by n.cancelled_at desc))[1] as example
    from (
      select e.id, e.tenant_key, e.sequence_id, e.failed_execution_id, e.cancelled_at
      from dripdrop.enrollments as e
      where e.cancelled_at > _journey_problems.at - interval '1 day'
        and e.exit_reason = 'step_failed'
      limit 10000
    ) as n
    join dripdrop.sequences as q on q.id = n.sequence_id
    join dripdrop.step_executions as x on x.id = n.failed_execution_id
    join dripdrop.steps as s on s.id = x.step_id
    cross join lateral (
      select exists (
        select from dripdrop.message_reports as m
        where m.step_execution_id = x.id and m.event_type = 'bounced'
      ) as bounced
    ) as r
    group by q.key, n.tenant_key, s.key, x.reason, r.bounced
    order by number desc
    limit 100
  ) as j
$$;

comment on function dripdrop._journey_problems(timestamptz) is
  'Journeys that a failed message has ended in a day, as startup_check() lists them.';

-- What sends for a provider that was registered is a program of its own, which may not be running.
create or replace function dripdrop._unserved_problems(at timestamptz)
returns setof dripdrop._problem
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    'not_served',
    format(
      '%s over %s (tenant %s) ready since %s, and nobody takes them',
      dripdrop._messages(w.messages),
      dripdrop._name_of_server(w.adapter_id, null, ''),
      coalesce(w.tenant_key, 'global'),
      dripdrop._in_utc(w.since)
    ),
    format(
      'Start what sends for provider %s of channel %s; "dripdrop run" does not.',
      dripdrop._quoted(w.provider), w.channel
    ),
    true
  from (
    select
      a.id as adapter_id, a.channel, a.provider, x.tenant_key,
      count(*) as messages, min(x.updated_at) as since
    from dripdrop.channel_adapters as a
    join dripdrop.providers as p
      on p.channel = a.channel and p.provider = a.provider and not p.shipped
    join dripdrop.step_executions as x on x.adapter_id = a.id
    where x.due_at is null and x.ended_at is null and x.waits_for is null
      and x.state in ('rendered', 'sending')
    group by a.id, x.tenant_key
    having bool_and(x.state = 'rendered')
  ) as w
  where w.since <= _unserved_problems.at - interval '5 minutes'
$$;

comment on function dripdrop._unserved_problems(timestamptz) is
  'What has been ready for five minutes for a sender that nothing sends for, as startup_check() '
  'lists it.';
