-- results: [{"execution", "fence", "outcome", "code", "detail", "hard", "retry_after",
-- "provider_message_id", "out_message_id", "response"}]; outcome is sent, retry, failed, bounced,
-- auth_error, rate_limited, maybe_sent or released (claimed, but never handed to the provider). One
-- transaction: states, events, senders, next steps.
--
-- locks   the enrolments, then the executions, then the adapters, then the counters of what did not
--         leave, each in id order
-- raises  ZD401 stale fence (the detail lists the executions), ZD201 malformed results;
--         nothing is recorded then
create or replace function dripdrop.complete_sends(results jsonb)
returns int
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_now timestamptz := dripdrop._now();
  v_results dripdrop._send_result[];
  v_recorded uuid[];
  v_sent uuid[];
  v_failed uuid[];
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
      'sent', 'retry', 'failed', 'bounced', 'auth_error', 'rate_limited', 'maybe_sent', 'released'
    )
  ) then
    raise exception 'an outcome is unknown' using
      errcode = 'ZD201', column = 'results',
      hint = 'Use sent, retry, failed, bounced, auth_error, rate_limited, maybe_sent or released.';
  end if;

  -- Whoever else moves a claimed execution holds its enrolment too, so that this lock is enough.
  perform from dripdrop.enrollments as e
  where e.id in (
    select x.enrollment_id
    from unnest(v_results) as r
    join dripdrop.step_executions as x on x.id = r.execution
  )
  order by e.id
  for no key update;

  -- A late result is welcome as long as nobody has acted on its absence:
  -- unknown still has the same fence.
  with verdict as (
    select r.*, v.state as new_state, v.due_at as new_due_at, e.state = 'paused' as paused
    from unnest(v_results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    join dripdrop.enrollments as e on e.id = x.enrollment_id
    join dripdrop.steps as s on s.id = x.step_id
    left join dripdrop.channel_adapters as a on a.id = x.adapter_id
    cross join lateral dripdrop._verdict(
      r, e.state, x.id, x.retry_count, s.config,
      r.outcome = 'maybe_sent' and exists (
        select from dripdrop.providers() as p
        where p.channel = a.channel and p.provider = a.provider and p.idempotent
      ),
      v_now
    ) as v
  ),
  recorded as (
    update dripdrop.step_executions as x
    set state = v.new_state,
        due_at = case when v.new_state = 'scheduled' and not v.paused then v.new_due_at end,
        scheduled_for = case
          when v.new_state = 'scheduled' and v.paused then v.new_due_at
          else x.scheduled_for
        end,
        ended_at = case when v.new_state in ('sent', 'failed', 'cancelled') then v_now end,
        fence = x.fence + (v.new_state = 'scheduled')::int,
        lease_until = null,
        retry_count = x.retry_count
          + (v.outcome in ('retry', 'bounced', 'failed', 'maybe_sent'))::int,
        maybe_sent_at = case
          when v.outcome = 'maybe_sent' and v.new_state <> 'unknown' then x.claimed_at
          else x.maybe_sent_at
        end,
        reason = case
          when v.new_state = 'scheduled' and v.paused then 'enrollment_paused'
          when v.new_state = 'cancelled' then 'enrollment_ended'
          else coalesce(v.code, v.outcome)
        end,
        reason_at = v_now,
        error_message = case when v.outcome <> 'sent' then left(v.detail, 500) end,
        provider_message_id = coalesce(left(v.provider_message_id, 500), x.provider_message_id),
        out_message_id = coalesce(left(v.out_message_id, 500), x.out_message_id),
        response = coalesce(v.response, x.response),
        updated_at = v_now
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
      v_now
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

  if coalesce(cardinality(v_recorded), 0) < cardinality(v_results) then
    raise exception '% of % claims are stale',
      cardinality(v_results) - coalesce(cardinality(v_recorded), 0), cardinality(v_results) using
      errcode = 'ZD401',
      detail = (
        select coalesce(jsonb_agg(r.execution), '[]')
        from unnest(v_results) as r
        where v_recorded is null or r.execution is null or r.execution <> all (v_recorded)
      )::text,
      hint = 'Leave out the executions in the detail and complete the others; what became of them '
        'is in their rows.';
  end if;

  if v_sent is not null then
    perform dripdrop._advance(v_sent, v_now);
  end if;
  if v_failed is not null then
    perform dripdrop._give_up(v_failed, v_now);
  end if;
  -- Last, because every worker updates the same few rows:
  -- they are locked only until the commit that follows.
  perform dripdrop._note_senders(v_results, v_now);
  if exists (
    select from unnest(v_results) as r where r.outcome not in ('sent', 'maybe_sent')
  ) then
    perform dripdrop._give_back(
      array(
        select r.execution
        from unnest(v_results) as r
        where r.outcome not in ('sent', 'maybe_sent')
      ),
      v_now
    );
  end if;
  return cardinality(v_results);
end
$$;

comment on function dripdrop.complete_sends(jsonb) is
  'Records what providers answered, all or nothing, plans what comes next, and returns how many '
  'were recorded. Of a longer provider_message_id or out_message_id the first 500 characters are '
  'kept.';

-- What an outcome means for an execution. Temporary failures come again after 30 s, 60 s, 120 s …
-- (at most an hour), give or take a fifth, or when the provider said; max_retries failed attempts
-- (3 by default) are the end. A rate limit and a refused login are the
-- sender's affair and cost the message nothing.
create or replace function dripdrop._verdict(
  result dripdrop._send_result,
  enrollment_state text,
  execution_id uuid,
  retry_count int,
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
        when result.outcome in ('rate_limited', 'auth_error', 'released') then 'scheduled'
        when result.outcome = 'maybe_sent' and not idempotent then 'unknown'
        when result.outcome in ('retry', 'maybe_sent')
          or (result.outcome = 'bounced' and result.hard is not true)
        then
          case
            when retry_count + 1 < coalesce((config ->> 'max_retries')::int, 3) then 'scheduled'
            else 'failed'
          end
        else 'failed'
      end as state,
      case
        when result.outcome = 'released' then at
        when result.retry_after is not null
        then at + make_interval(secs => least(result.retry_after, 86400))
        when result.outcome in ('rate_limited', 'auth_error') then at + interval '5 minutes'
        else at + make_interval(secs =>
          least(30 * power(2, least(retry_count, 20)), 3600)
          * (0.8 + 0.4 * ((hashtextextended(execution_id::text, retry_count) & 1023) / 1023.0))
        )
      end as due_at
  ) as v;
end;

comment on function dripdrop._verdict(
  dripdrop._send_result, text, uuid, int, jsonb, boolean, timestamptz
) is
  'The state an outcome leads to and, when it is to be tried again, when.';

-- What outcomes say about the senders: when they last sent, and whether they are to rest.
--
-- locks   the adapters, in id order; recipients of hard bounces are suppressed
create or replace function dripdrop._note_senders(results dripdrop._send_result[], at timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  perform from dripdrop.channel_adapters as a
  where a.id in (
    select x.adapter_id
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
  )
  order by a.id
  for no key update;

  update dripdrop.channel_adapters as a
  set last_send_at = case when n.sent then _note_senders.at else a.last_send_at end,
      -- Paused until it is resumed: no provider's word makes that shorter.
      resting_until = case
        when a.health_state = 'resting' and a.resting_until is null then null
        else greatest(a.resting_until, n.rest_until)
      end,
      resting_reason = case
        when a.health_state = 'resting' and a.resting_until is null then a.resting_reason
        when n.rest_until > coalesce(a.resting_until, '-infinity') then n.rest_reason
        else a.resting_reason
      end
  from (
    select
      x.adapter_id,
      bool_or(r.outcome = 'sent') as sent,
      max(
        _note_senders.at + make_interval(secs => least(coalesce(r.retry_after, 300), 86400))
      ) filter (where r.outcome in ('rate_limited', 'auth_error')) as rest_until,
      max(r.outcome) filter (where r.outcome in ('rate_limited', 'auth_error')) as rest_reason
    from unnest(results) as r
    join dripdrop.step_executions as x on x.id = r.execution
    group by x.adapter_id
  ) as n
  where a.id = n.adapter_id;

  perform dripdrop._suppress(
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
  'Keeps the senders'' books: last send, rests; suppresses hard bounces.';
