-- results: [{"execution", "fence", "outcome", "stage", "code", "detail", "hard", "retry_after",
-- "left_after", "provider_message_id", "out_message_id", "response"}]; outcome is sent, retry,
-- failed, bounced, auth_error, rate_limited, unreachable, refused (whose fault it is, reply_codes()
-- say by stage, code and detail), maybe_sent or released (claimed, but never handed to the
-- provider). One transaction: states, events, senders, next steps. It waits for nobody: what
-- somebody has locked, or what cannot be written, is kept and recorded by a later tick().
--
-- locks   the circuits, then the enrolments, the executions and the adapters, skipping what is
--         locked, then the counters
-- raises  ZD401 stale fence (the detail lists the executions), ZD201 malformed results;
--         nothing is recorded then
create or replace function dripdrop.complete_sends(results jsonb)
returns int
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_results dripdrop._send_result[] := dripdrop._read_results(results);
begin
  v_results := dripdrop._classified(v_results, v_now);
  -- First, because claims lock circuits before counters. Mostly all is well, and was.
  if exists (select from unnest(v_results) as r where r.outcome <> 'sent')
    or exists (select from dripdrop.sender_states as c where c.ended_at is null)
  then
    perform dripdrop._note_signals(
      array(select s from dripdrop._signals(v_results, v_now) as s), v_now
    );
  end if;
  perform dripdrop._record(dripdrop._charged(v_results), v_now);
  return cardinality(v_results);
end
$$;

comment on function dripdrop.complete_sends(jsonb) is
  'Records what providers answered, or keeps it where the row is locked, plans what comes next, '
  'and returns how many results it took. Of a longer provider_message_id or out_message_id the '
  'first 500 characters are kept.';

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

-- A late result is welcome as long as nobody has acted on its absence: unknown still has the same
-- fence.
--
-- raises  ZD401
create or replace function dripdrop._check_fences(results dripdrop._send_result[])
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_stale uuid[] := array(
    select r.execution
    from unnest(results) as r
    left join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state in ('sending', 'unknown')
    where x.id is null
  );
begin
  if cardinality(v_stale) > 0 then
    raise exception '% of % claims are stale', cardinality(v_stale), cardinality(results) using
      errcode = 'ZD401',
      detail = to_jsonb(v_stale)::text,
      hint = 'Leave out the executions in the detail and complete the others; what became of them '
        'is in their rows.';
  end if;
end
$$;

comment on function dripdrop._check_fences(dripdrop._send_result[]) is
  'Raises ZD401 on results of claims that were lost.';

-- What a server said is looked up in reply_codes(). One message that no server takes must not have
-- its sender rest again and again: it has its failure for itself when it was put down to the server
-- before and others have got through since, and when the server took others within the last minute
-- and has refused only this recipient or these words.
create or replace function dripdrop._classified(
  results dripdrop._send_result[],
  at timestamptz
)
returns dripdrop._send_result[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (
    select from unnest(results) as r where r.outcome in ('refused', 'auth_error', 'unreachable')
  ) then
    return results;
  end if;
  return array(
    select case
      when v.outcome is null then r
      else jsonb_populate_record(
        r,
        jsonb_build_object(
          'outcome',
          case
            when v.outcome in ('auth_error', 'unreachable')
              and (
                (
                  split_part(r.stage, '.', 1) in ('recipient', 'content')
                  and a.last_send_at > _classified.at - interval '1 minute'
                )
                or exists (
                  select from dripdrop.sender_states as s
                  where s.adapter_id = x.adapter_id and s.host = '' and s.ended_at > x.excused_at
                )
              )
            then 'retry'
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

comment on function dripdrop._classified(dripdrop._send_result[], timestamptz) is
  'Results with the outcome that says whose fault a refusal was.';

-- What the message has to bear. A URL of its own is its receiver's affair and no sender's; and a
-- server that takes others' messages in the same moment is not away.
create or replace function dripdrop._charged(results dripdrop._send_result[])
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
          when x.channel = 'webhook' and dripdrop._own_host(x.payload) is not null
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
    order by r.execution
  );
end
$$;

comment on function dripdrop._charged(dripdrop._send_result[]) is
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
  cross join lateral (
    select case when x.channel = 'webhook' then dripdrop._own_host(x.payload) end as host
  ) as own
$$;

comment on function dripdrop._signals(dripdrop._send_result[], timestamptz) is
  'What results say about the servers of their senders.';

-- A row that cannot be written is found by halving. What it was to be told is kept with the error,
-- and tried again; the others are recorded.
--
-- raises  ZD401; 40001 and 40P01, after which a plain retry is right
create or replace function dripdrop._record(results dripdrop._send_result[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_half int := cardinality(results) / 2;
begin
  perform dripdrop._record_batch(results, at);
exception
  when sqlstate 'ZD401' or sqlstate '40001' or sqlstate '40P01' then
    raise;
  when others then
    if v_half = 0 then
      perform dripdrop._note_fault(
        results[1].execution, 'record', sqlstate, sqlerrm, at, to_jsonb(results[1])
      );
    else
      perform dripdrop._record(results[:v_half], at);
      perform dripdrop._record(results[v_half + 1:], at);
    end if;
end
$$;

comment on function dripdrop._record(dripdrop._send_result[], timestamptz) is
  'Records results; keeps those that cannot be recorded now.';

-- Results of rows that were locked, or could not be written, when their senders reported them.
--
-- locks   faults, skipping what is locked, then as complete_sends()
create or replace function dripdrop._record_late(at timestamptz)
returns int
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kept uuid[];
  v_results dripdrop._send_result[];
begin
  v_kept := array(
    select f.execution_id
    from dripdrop.faults as f
    where f.result is not null and f.until <= _record_late.at
    limit 500
    for update skip locked
  );
  if cardinality(v_kept) = 0 then
    return 0;
  end if;
  v_results := array(
    select r
    from dripdrop.faults as f
    cross join lateral jsonb_populate_record(null::dripdrop._send_result, f.result) as r
    join dripdrop.step_executions as x
      on x.id = r.execution and x.fence = r.fence and x.state in ('sending', 'unknown')
    where f.execution_id = any (v_kept)
    order by r.execution
  );
  if cardinality(v_results) > 0 then
    perform dripdrop._record(v_results, at);
  end if;
  delete from dripdrop.faults as f
  where f.execution_id = any (v_kept) and f.until <= _record_late.at;
  return cardinality(v_results);
end
$$;

comment on function dripdrop._record_late(timestamptz) is
  'Records what could not be recorded when it was reported; returns how many it tried.';

-- Whoever else moves a claimed execution holds its enrolment too, so that this lock is enough. What
-- somebody has locked is kept for later: nothing waits for an application's open transaction.
create or replace function dripdrop._record_batch(
  results dripdrop._send_result[],
  at timestamptz
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '300ms'
as $$
declare
  v_free uuid[];
  v_recorded uuid[];
  v_sent uuid[];
  v_failed uuid[];
begin
  v_free := array(
    select x.id
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    order by e.id, x.id
    for no key update of e, x skip locked
  );
  if cardinality(v_free) < cardinality(results) then
    perform dripdrop._check_fences(
      array(
        select r
        from unnest(results) as r
        where r.execution is null or r.execution <> all (v_free)
      )
    );
    perform dripdrop._note_fault(
      r.execution, 'record', '55P03', 'somebody has locked the enrolment', at, to_jsonb(r)
    )
    from unnest(results) as r
    where r.execution <> all (v_free);
    results := array(
      select r from unnest(results) as r where r.execution = any (v_free) order by r.execution
    );
    if cardinality(results) = 0 then
      return;
    end if;
  end if;

  with verdict as (
    select r.*, v.state as new_state, v.due_at as new_due_at, e.state = 'paused' as paused
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join dripdrop.steps as s on s.id = x.step_id
    left join dripdrop.channel_adapters as a on a.id = x.adapter_id
    cross join lateral dripdrop._verdict(
      r, e.state, x.id, x.channel, x.retry_count, x.failing_since, s.config,
      r.outcome = 'maybe_sent' and exists (
        select from dripdrop.providers() as p
        where p.channel = a.channel and p.provider = a.provider and p.idempotent
      ),
      at
    ) as v
  ),
  recorded as (
    update dripdrop.step_executions as x
    set state = v.new_state,
        due_at = case when v.new_state = 'scheduled' and not v.paused then v.new_due_at end,
        waits_for = case when v.new_state = 'scheduled' and v.paused then 'enrollment' end,
        scheduled_for = case
          when v.new_state = 'scheduled' and v.paused then v.new_due_at
          -- The time until a server is back is no delay of the message.
          when v.outcome in ('auth_error', 'rate_limited', 'unreachable') then _record_batch.at
          else x.scheduled_for
        end,
        ended_at = case
          when v.new_state in ('sent', 'failed', 'cancelled') then _record_batch.at
        end,
        fence = x.fence + (v.new_state = 'scheduled')::int,
        lease_until = null,
        place_of = null,
        retry_count = x.retry_count
          + (v.outcome in ('retry', 'bounced', 'failed', 'maybe_sent'))::int,
        maybe_sent_at = case
          when v.outcome = 'maybe_sent' and v.new_state <> 'unknown' then x.claimed_at
          else x.maybe_sent_at
        end,
        failing_since = case
          when v.outcome in ('retry', 'bounced', 'maybe_sent')
          then coalesce(x.failing_since, _record_batch.at)
          else x.failing_since
        end,
        excused_at = case
          when v.outcome in ('auth_error', 'rate_limited', 'unreachable') then _record_batch.at
          else x.excused_at
        end,
        reason = case
          when v.new_state = 'scheduled' and v.paused then 'enrollment_paused'
          when v.new_state = 'cancelled' then 'enrollment_ended'
          else coalesce(v.code, v.outcome)
        end,
        reason_at = _record_batch.at,
        error_message = case when v.outcome <> 'sent' then left(v.detail, 500) end,
        provider_message_id = coalesce(left(v.provider_message_id, 500), x.provider_message_id),
        out_message_id = coalesce(left(v.out_message_id, 500), x.out_message_id),
        response = coalesce(v.response, x.response),
        updated_at = _record_batch.at
    from verdict as v
    where x.id = v.execution
      and x.fence = v.fence
      and x.state in ('sending', 'unknown')
    returning
      x.id, x.tenant_key, x.state, x.adapter_id, x.channel, x.recipient, x.due_at,
      v.outcome, v.code, v.detail, left(v.provider_message_id, 500) as provider_message_id, v.hard
  ),
  logged as (
    insert into dripdrop.message_events (
      tenant_key, step_execution_id, adapter_id, channel, provider, provider_message_id,
      event_type, event_data, occurred_at
    )
    select
      r.tenant_key, r.id, r.adapter_id, r.channel, coalesce(a.provider, 'dripdrop'),
      r.provider_message_id,
      case
        when r.state = 'sent' then 'sent'
        when r.outcome = 'bounced' then 'bounced'
        when r.state = 'failed' then 'failed'
        else 'deferred'
      end,
      case when r.state = 'sent' then '{}' else jsonb_strip_nulls(jsonb_build_object(
        'outcome', r.outcome, 'code', r.code, 'detail', left(r.detail, 500), 'until', r.due_at,
        'hard', case when r.outcome = 'bounced' then coalesce(r.hard, false) end
      )) end,
      _record_batch.at
    from recorded as r
    left join dripdrop.channel_adapters as a on a.id = r.adapter_id
    where r.outcome <> 'released'
  )
  select
    array_agg(r.id),
    array_agg(r.id) filter (where r.state = 'sent'),
    array_agg(r.id) filter (where r.state = 'failed')
  into v_recorded, v_sent, v_failed
  from recorded as r;

  if coalesce(cardinality(v_recorded), 0) < cardinality(results) then
    perform dripdrop._check_fences(array(
      select r
      from unnest(results) as r
      where v_recorded is null or r.execution <> all (v_recorded)
    ));
  end if;

  if v_sent is not null then
    perform dripdrop._advance(v_sent, at);
  end if;
  if v_failed is not null then
    perform dripdrop._give_up(v_failed, at);
  end if;
  -- Last, because every worker updates the same few rows:
  -- they are locked only until the commit that follows.
  perform dripdrop._note_senders(results, at);
  perform dripdrop._settle_counters(results, at);
end
$$;

comment on function dripdrop._record_batch(dripdrop._send_result[], timestamptz) is
  'Records results in one go, or raises; keeps those whose enrolment somebody has locked.';

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
  channel text,
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
            when at >= failing_since + dripdrop._retry_for(channel, config) then 'failed'
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
          coalesce(failing_since, at) + dripdrop._retry_for(channel, config)
        )
      end as due_at
  ) as v;
end;

comment on function dripdrop._verdict(
  dripdrop._send_result, text, uuid, text, int, timestamptz, jsonb, boolean, timestamptz
) is
  'The state an outcome leads to and, when it is to be tried again, when.';

-- locks   the adapters, skipping what is locked; the slots of hard bounces' recipients, which are
--         suppressed
create or replace function dripdrop._note_senders(results dripdrop._send_result[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  update dripdrop.channel_adapters as a
  set last_send_at = _note_senders.at
  where a.id = any (array(
    select n.id
    from dripdrop.channel_adapters as n
    where n.id in (
      select x.adapter_id
      from unnest(results) as r
      join dripdrop.step_executions as x on x.id = r.execution
      where r.outcome = 'sent'
    )
    for no key update skip locked
  ));

  perform dripdrop._suppress_one(
    x.tenant_key, x.channel, x.recipient, 'bounce', 'provider',
    jsonb_build_object('execution', x.id, 'code', r.code), _note_senders.at
  )
  from unnest(results) as r
  join dripdrop.step_executions as x on x.id = r.execution
  where r.outcome = 'bounced' and r.hard and x.recipient is not null
  order by
    dripdrop._suppression_slot(x.tenant_key, x.recipient), x.recipient, x.channel, x.tenant_key;
  -- Claims share slots first and then wait for counters: so does this.
  set constraints dripdrop.suppressions_exclude_claims immediate;
end
$$;

comment on function dripdrop._note_senders(dripdrop._send_result[], timestamptz) is
  'Notes when senders last sent, and suppresses hard bounces.';
