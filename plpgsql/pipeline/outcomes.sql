-- raises  ZD201
create or replace function dripdrop._read_results(results jsonb)
returns dripdrop._send_result[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_results dripdrop._send_result[];
begin
  if jsonb_typeof(results) is distinct from 'array' then
    raise exception 'results is not a list' using
      errcode = 'ZD201', column = 'results',
      hint = 'Pass [{"execution": …, "fence": …, "outcome": "sent"}, …].';
  end if;
  begin
    v_results := array(
      select r
      from jsonb_populate_recordset(null::dripdrop._send_result, results) as r
      order by r.execution
    );
  exception
    when data_exception then
      raise exception 'an element of results is malformed' using
        errcode = 'ZD201', column = 'results', detail = sqlerrm,
        hint = 'execution is a uuid, fence a whole number.';
  end;
  if (select count(distinct r.execution) from unnest(v_results) as r) < cardinality(v_results) then
    raise exception 'an execution is missing or stands twice' using
      errcode = 'ZD201', column = 'results', hint = 'Pass one element per execution.';
  end if;
  if exists (
    select from unnest(v_results) as r
    where r.outcome is null or r.outcome not in (
      'sent', 'retry', 'failed', 'bounced', 'auth_error', 'rate_limited', 'unreachable', 'refused',
      'maybe_sent', 'released'
    )
  ) then
    raise exception 'an outcome is unknown' using
      errcode = 'ZD201', column = 'results',
      hint = 'Use sent, retry, failed, bounced, auth_error, rate_limited, unreachable, refused, '
        'maybe_sent or released.';
  end if;
  return v_results;
end
$$;

comment on function dripdrop._read_results(jsonb) is
  'The results that complete_sends() was given, checked, in the order of their executions.';

-- What a server said is looked up in reply_codes(). One message that no server takes must not have
-- its sender rest again and again: it has its failure for itself when it was put down to the server
-- before and the circuit has closed since, and when the server took others just before and has
-- refused, or broken off at, only this recipient or these words. Just before is less than the
-- shortest rest: what tries a server that was found away proves nothing by it. Nor does "just
-- before" of a rate: whoever has reached it was let through until then.
create or replace function dripdrop._classified_results(
  results dripdrop._send_result[],
  at timestamptz
)
returns dripdrop._send_result[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_alike uuid[];
begin
  if not exists (
    select from unnest(results) as r
    where r.outcome in ('refused', 'auth_error', 'rate_limited', 'unreachable')
  ) then
    return results;
  end if;
  v_alike := dripdrop._refused_alike(results, at);
  return array(
    select case
      when v.outcome is null then r
      else jsonb_populate_record(
        r,
        jsonb_build_object(
          'outcome',
          case
            when v.outcome in ('auth_error', 'rate_limited', 'unreachable')
              and (
                (
                  v.outcome <> 'rate_limited'
                  and split_part(r.stage, '.', 1) in ('recipient', 'content')
                  and a.last_send_at > _classified_results.at - interval '30 seconds'
                )
                or dripdrop._has_its_fault_for_itself(x)
              )
            then 'retry'
            when r.execution = any (v_alike) and (v.outcome = 'failed' or v.hard) then 'auth_error'
            else v.outcome
          end,
          'hard', v.hard
        )
      )
    end
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    left join dripdrop.channel_adapters as a on a.id = x.adapter_id
    left join lateral dripdrop._classify(
      x.channel, a.provider, r.stage, r.code, r.detail
    ) as c on r.outcome = 'refused'
    cross join lateral (
      select
        case r.outcome when 'refused' then c.outcome else r.outcome end as outcome,
        case r.outcome when 'refused' then c.hard else r.hard end as hard
    ) as v
    order by r.execution
  );
end
$$;

comment on function dripdrop._classified_results(dripdrop._send_result[], timestamptz) is
  'Results with the outcome that says whose fault a refusal was.';

-- A circuit that is open now is another's: whoever tries it speaks for the server.
create or replace function dripdrop._has_its_fault_for_itself(execution dripdrop.step_executions)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select count(*) filter (where s.ended_at > execution.excused_at) > 0
    and count(*) filter (where s.ended_at is null and s.state <> 'closed') = 0
  from dripdrop.sender_states as s
  where s.adapter_id = execution.adapter_id
    and s.host = ''
    and (s.ended_at is null or s.ended_at > execution.excused_at)
$$;

comment on function dripdrop._has_its_fault_for_itself(dripdrop.step_executions) is
  'Whether a fault of the server''s was put down to it before, and its circuit has closed since.';

-- Whose recipients a server refuses one after the other in the same way, five of them and nothing
-- taken in between, does not speak of them: of the sender, in words that no table knows, or of a
-- directory that is down. That a URL is not there is said of no message either. What has opened
-- a circuit so, and closed it since, is known to be about the recipients, for a day.
create or replace function dripdrop._refused_alike(
  results dripdrop._send_result[],
  at timestamptz
)
returns uuid[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  with
  taking as materialized (
    select x.adapter_id
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    where r.outcome = 'sent'
  ),
  refused as materialized (
    select
      r.execution,
      x.adapter_id,
      coalesce(x.recipient, x.enrollment_id::text) as recipient,
      dripdrop._refusal(r.code, r.detail) as refusal
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    where r.outcome = 'refused'
      and (
        r.stage = 'recipient'
        or r.stage = 'request'
        and r.code like any (array['http_3__', 'http_404', 'http_405', 'http_410'])
      )
      and not exists (select from taking as t where t.adapter_id = x.adapter_id)
  ),
  before as (
    select
      a.id as adapter_id,
      coalesce(x.recipient, x.enrollment_id::text) as recipient,
      dripdrop._refusal(m.event_data ->> 'code', m.event_data ->> 'detail') as refusal
    from dripdrop.channel_adapters as a
    cross join lateral (
      select e.step_execution_id, e.event_data
      from dripdrop.message_reports as e
      where e.adapter_id = a.id
        and e.occurred_at > greatest(a.last_send_at, _refused_alike.at - interval '1 day')
        and e.event_data ? 'outcome'
        and e.provider_event_id is null
      order by e.occurred_at desc
      limit 50
    ) as m
    join dripdrop.step_executions as x on x.id = m.step_execution_id
    where a.id in (select n.adapter_id from refused as n)
  ),
  alike as (
    select u.adapter_id, u.refusal
    from (
      select n.adapter_id, n.refusal, n.recipient from refused as n
      union all
      select b.adapter_id, b.refusal, b.recipient from before as b
    ) as u
    group by u.adapter_id, u.refusal
    having count(distinct u.recipient) >= 5
  )
  select coalesce(array_agg(n.execution), '{}')
  from refused as n
  join alike as k on k.adapter_id = n.adapter_id and k.refusal = n.refusal
  where not exists (
    select from dripdrop.sender_states as s
    where s.adapter_id = n.adapter_id
      and s.host = ''
      and s.ended_at > _refused_alike.at - interval '1 day'
      and dripdrop._refusal(s.reason, s.detail) = n.refusal
  )
$$;

comment on function dripdrop._refused_alike(dripdrop._send_result[], timestamptz) is
  'The executions whose refusals are not about them: their server says the same to everybody.';

create or replace function dripdrop._refusal(code text, detail text)
returns text
language sql
immutable
parallel safe
return code || case
  when code like 'http%' then ''
  else regexp_replace(left(coalesce(detail, ''), 500), '\S*[@0-9]\S*', '', 'g')
end;

comment on function dripdrop._refusal(text, text) is
  'A refusal without what differs from one to the next: addresses, and words with digits in them.';

-- What the message has to bear. A URL of its own is its receiver's affair and no sender's; and a
-- server that takes others' messages in the same moment is not away.
create or replace function dripdrop._results_for_messages(results dripdrop._send_result[])
returns dripdrop._send_result[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from unnest(results) as r
    where r.outcome in ('auth_error', 'rate_limited', 'unreachable')
  ) then
    return results;
  end if;
  return array(
    select case
      when r.outcome not in ('auth_error', 'rate_limited', 'unreachable') then r
      else jsonb_populate_record(r, jsonb_build_object(
        'outcome',
        case
          when c.own_hosts and dripdrop._own_host(x.payload) is not null
          then case r.outcome when 'auth_error' then 'failed' else 'retry' end
          when r.outcome <> 'rate_limited' and x.adapter_id in (
            select y.adapter_id
            from unnest(results) as s
            join dripdrop.step_executions as y on y.id = s.execution
            where s.outcome = 'sent'
          )
          then 'retry'
          else r.outcome
        end
      ))
    end
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    left join dripdrop.channels as c on c.channel = x.channel
    order by r.execution
  );
end
$$;

comment on function dripdrop._results_for_messages(dripdrop._send_result[]) is
  'Results as they count for their messages.';

-- What the results say about the servers that were asked.
create or replace function dripdrop._signals(results dripdrop._send_result[], at timestamptz)
returns setof dripdrop._signal
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    x.adapter_id,
    null::uuid,
    coalesce(own.host, ''),
    x.id,
    coalesce(x.claimed_at, _signals.at),
    case
      when own.host is not null and r.outcome = 'auth_error' then 'ok'
      when r.outcome = 'unreachable' then 'away'
      when r.outcome = 'auth_error' then 'away'
      when r.outcome = 'rate_limited' then 'asked'
      when r.outcome = 'maybe_sent' then 'slow'
      when r.outcome = 'released' then 'nothing'
      else 'ok'
    end,
    coalesce(r.code, r.outcome),
    r.detail,
    r.retry_after
  from unnest(results) as r
  join dripdrop.step_executions as x on x.id = r.execution
  left join dripdrop.channels as c on c.channel = x.channel
  cross join lateral (
    select case when c.own_hosts then dripdrop._own_host(x.payload) end as host
  ) as own
$$;

comment on function dripdrop._signals(dripdrop._send_result[], timestamptz) is
  'What results say about the servers of their senders.';

-- The pauses between attempts, give or take a fifth: 1, 5, 15 minutes, 1, 3, and then 6 hours.
create or replace function dripdrop._retry_pause(attempts int, execution_id uuid)
returns interval
language sql
immutable
parallel safe
return (array[
  interval '1 minute', interval '5 minutes', interval '15 minutes', interval '1 hour',
  interval '3 hours', interval '6 hours'
])[least(attempts, 5) + 1]
* (0.8 + 0.4 * ((hashtextextended(execution_id::text, attempts) & 1023) / 1023.0));

comment on function dripdrop._retry_pause(int, uuid) is
  'How long to wait after so many failed attempts and one more.';

-- What an outcome means for an execution. The recipient's fault, for the time being, is tried again
-- by time: for retry_for, after growing pauses or when the provider said; where the step sets
-- max_retries, so many failed attempts are the end too. What is the sender's or the server's affair
-- costs the message nothing.
create or replace function dripdrop._verdict(
  result dripdrop._send_result,
  enrollment_state text,
  execution_id uuid,
  retry_for interval,
  retry_count int,
  failing_since timestamptz,
  config jsonb,
  idempotent boolean,
  at timestamptz
)
returns table (state text, due_at timestamptz)
language sql
stable
parallel safe
begin atomic
  select
    case
      when v.state = 'scheduled' and enrollment_state in ('completed', 'cancelled') then 'cancelled'
      else v.state
    end,
    case when v.state = 'scheduled' then v.due_at end
  from (
    select
      case
        when result.outcome = 'sent' then 'sent'
        when result.outcome in ('rate_limited', 'auth_error', 'unreachable', 'released')
        then 'scheduled'
        when result.outcome = 'maybe_sent' and not idempotent then 'unknown'
        when result.outcome in ('retry', 'maybe_sent')
          or (result.outcome = 'bounced' and result.hard is not true)
        then
          case
            when at >= failing_since + coalesce((config ->> 'retry_for')::interval, retry_for)
            then 'failed'
            when retry_count + 1 >= (config ->> 'max_retries')::int then 'failed'
            else 'scheduled'
          end
        else 'failed'
      end as state,
      case
        when result.outcome = 'released' then at
        -- Its circuit holds it, for as long as it takes.
        when result.outcome in ('rate_limited', 'auth_error', 'unreachable')
        then at + interval '5 seconds'
        else least(
          case
            when result.retry_after is not null
            then at + make_interval(secs => least(result.retry_after, 86400))
            else at + dripdrop._retry_pause(retry_count, execution_id)
          end,
          coalesce(failing_since, at) + coalesce((config ->> 'retry_for')::interval, retry_for)
        )
      end as due_at
  ) as v;
end;

comment on function dripdrop._verdict(
  dripdrop._send_result, text, uuid, interval, int, timestamptz, jsonb, boolean, timestamptz
) is
  'The state an outcome leads to and, when it is to be tried again, when.';

-- Asked once per result, beside its row: an argument that is a query of its own would keep
-- _verdict() from being inlined.
create or replace function dripdrop._verdicts(results dripdrop._send_result[], at timestamptz)
returns table (
  execution uuid,
  fence int,
  state text,
  due_at timestamptz,
  paused boolean,
  outcome text,
  code text,
  detail text,
  hard boolean,
  provider_message_id text,
  out_message_id text,
  response jsonb
)
language sql
stable
begin atomic
  select
    r.execution,
    r.fence,
    v.state,
    v.due_at,
    e.state = 'paused',
    r.outcome,
    r.code,
    r.detail,
    r.hard,
    r.provider_message_id,
    r.out_message_id,
    r.response
  from unnest(results) as r
  join dripdrop.step_executions as x on x.id = r.execution
  join dripdrop.enrollments as e on e.id = x.enrollment_id
  join dripdrop.steps as s on s.id = x.step_id
  left join dripdrop.channel_adapters as a on a.id = x.adapter_id
  left join lateral (
    select p.idempotent
    from dripdrop.providers as p
    where r.outcome = 'maybe_sent'
      and p.channel = a.channel
      and p.provider = a.provider
  ) as maybe on true
  left join lateral (
    select c.retry_for
    from dripdrop.channels as c
    where c.channel = x.channel and r.outcome <> 'sent'
    offset 0
  ) as patience on true
  cross join lateral dripdrop._verdict(
    r, e.state, x.id, patience.retry_for, x.retry_count, x.failing_since, s.config,
    coalesce(maybe.idempotent, false), _verdicts.at
  ) as v;
end;

comment on function dripdrop._verdicts(dripdrop._send_result[], timestamptz) is
  'What results mean for their executions: each with the state that follows and, when it is to be '
  'tried again, when.';
