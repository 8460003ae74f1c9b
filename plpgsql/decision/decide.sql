-- tick() carries the first closed gate out, claim_sends() asks again at the fence, explain() shows
-- them all. asked_by: decision, fence or explain. A row that is spelt out is taken apart by the
-- planner, which makes the list a part of this query; f alone would be built anew for each message.
create or replace function dripdrop._gates(executions uuid[], at timestamptz, asked_by text)
returns table (
  execution_id uuid,
  place int,
  gate text,
  action text,
  reason text,
  detail text,
  until timestamptz,
  adapter_id uuid,
  recipient text,
  limited boolean,
  waits_for text
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select
    f.execution_id, g.place, g.gate, g.action, g.reason, g.detail, g.until, f.adapter_id,
    f.recipient, f.limited, g.waits_for
  from dripdrop._facts(_gates.executions, _gates.at, asked_by) as f
  cross join lateral dripdrop._gates_of(row(f.*)::dripdrop._fact) as g
  where (g.at_fence or asked_by <> 'fence')
    and (g.action is not null or asked_by = 'explain')
$$;

comment on function dripdrop._gates(uuid[], timestamptz, text) is
  'The gates of each execution as they stand at a time: those that are closed, or for explain() '
  'all of them.';

-- The first closed gate has the word, and the last one always has: send. At the fence there is no
-- word on what may leave. Whatever ends a deferral without an end wakes what waits for it; it is
-- looked at again once a day all the same, for nobody resumes a sender in whose place there is
-- another.
create or replace function dripdrop._decide(
  executions uuid[],
  at timestamptz,
  asked_by text default 'decision'
)
returns setof dripdrop._decision
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select distinct on (g.execution_id) dripdrop._as_decision(
    g.execution_id,
    g.gate,
    g.action,
    g.reason,
    g.detail,
    case
      when g.action = 'defer' then coalesce(g.until, _decide.at + interval '1 day') else g.until
    end,
    g.adapter_id,
    g.recipient,
    g.limited,
    waits_for => case when g.action in ('ask', 'defer', 'hold') then g.waits_for end
  )
  from dripdrop._gates(_decide.executions, _decide.at, asked_by) as g
  order by g.execution_id, g.place
$$;

comment on function dripdrop._decide(uuid[], timestamptz, text) is
  'What is to happen to each execution; at the fence only to those that may not leave.';
