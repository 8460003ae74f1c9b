-- Which functions the planner plans in another way than by itself, and why. A setting holds in
-- everything that the function calls, and keeps the function from being inlined. Before 18 a plan
-- that settings rule out costs so much that compiling it seems to pay: jit goes off with them.
create or replace function dripdrop._planner_settings()
returns table (function text, settings text array)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select f.name, p.settings
  from (
    -- Batches are small and tables are large, whatever the statistics say: every row is reached by
    -- its key, and one plan does for all batches.
    select
      array[
        'plan_cache_mode=force_generic_plan',
        'enable_seqscan=off',
        'enable_hashjoin=off',
        'enable_mergejoin=off',
        'jit=off'
      ] as settings,
      array[
        '_advance',
        '_answer_with_errors',
        '_asked_of_limits',
        '_plan_first',
        '_plan_plain_step',
        '_behind_circuits',
        '_breach',
        '_cancel_executions',
        '_caps_of',
        '_carry_out',
        '_check_fences',
        '_circuits_of',
        '_classified_results',
        '_defer_executions',
        '_end_enrollments',
        '_enroll_all',
        '_enrolled_or_refused',
        '_end_executions',
        '_enqueue_rendered',
        '_fail_renders',
        '_fire_side_steps',
        '_frequency_caps_of',
        '_gates',
        '_advance_failed',
        '_under_open_stops',
        '_confirmed_holds',
        '_hold_behind_circuits',
        '_hold_executions',
        '_hold_for_enrollments',
        '_limit_at_fence',
        '_limits_on',
        '_log_decisions',
        '_take_expired_leases',
        '_make_due',
        '_note_answers',
        '_pass_fence',
        '_pending_hooks',
        '_pick_probes',
        '_plan_steps',
        '_postpone_rules',
        '_rates_of',
        '_read_events',
        '_prune_enrollments',
        '_prune_events',
        '_prune_message_reports',
        '_prune_counters',
        '_prune_adapter_rests',
        '_prune_consent_records',
        '_prune_suppression_history',
        '_read_hook_pointers',
        '_record_answers',
        '_record_batch',
        '_record_events',
        '_record_hook_results',
        '_record_late',
        '_record_renders',
        '_renders',
        '_lost_pointers',
        '_repoint',
        '_reschedule',
        '_resolve',
        '_results_for_messages',
        '_room_per_sender',
        '_settle_counters',
        '_apply_rules',
        '_settled_limits',
        '_still_due',
        '_stop_at_fence',
        '_take_due',
        '_take_in_line',
        '_take_pointers',
        '_take_rules_to_ask',
        '_tick',
        '_carry_out_unsent',
        '_take_unknown',
        '_free_of_stops',
        '_unsubscribe_links',
        '_unusable_addresses',
        '_update_enrollments',
        '_without_empty',
        '_wake_by_circuit',
        '_wake_by_enrollment',
        '_wake_by_event',
        '_wake_by_limit',
        '_wake_by_rest',
        '_wake_by_rival',
        '_wake_by_rules',
        '_would_go_on',
        '_wake_held',
        '_wake_missed',
        '_write_suppressions',
        '_written_rates',
        '_hook_calls',
        'claim_due',
        'claim_hooks',
        'claim_rendered',
        'claim_renders',
        'claim_sends',
        'complete_sends',
        'enroll',
        'enroll_many',
        'leased_renders',
        'list_enrollments',
        'list_messages',
        'next_due',
        'reconcile',
        'release_claim',
        'tick'
      ] as functions
    union all
    -- A lookup in one history, planned for the subscriber it is about.
    select
      array['enable_seqscan=off', 'enable_hashjoin=off', 'enable_mergejoin=off', 'jit=off'],
      array['_last_claimed']
    union all
    -- As a batch, but two of its parts may be hashed against each other.
    select
      array[
        'plan_cache_mode=force_generic_plan',
        'enable_seqscan=off',
        'enable_mergejoin=off',
        'jit=off'
      ],
      array['_counters_of', '_lock_counters', '_under_way']
    union all
    -- The first rows of an index, in its order, however few the planner takes all of them to be.
    select
      array[
        'plan_cache_mode=force_generic_plan',
        'enable_seqscan=off',
        'enable_bitmapscan=off',
        'enable_hashjoin=off',
        'enable_mergejoin=off',
        'jit=off'
      ],
      array[
        '_enrollments_before',
        '_latest_due',
        '_longest_due',
        '_mark_lines',
        '_messages_before',
        '_next_in_line',
        '_steps_in_line'
      ]
    union all
    -- As a batch, but called where hashing is ruled out.
    select
      array[
        'plan_cache_mode=force_generic_plan',
        'enable_seqscan=off',
        'enable_hashjoin=on',
        'enable_mergejoin=off',
        'jit=off'
      ],
      array[
        '_all_fit',
        '_decisions_to_wait',
        '_in_fair_order',
        '_note_let_through',
        '_note_taken',
        '_allowed_decisions'
      ]
    union all
    -- By key, too, with joins as the planner likes: they are with small tables.
    select
      array['plan_cache_mode=force_generic_plan', 'enable_seqscan=off', 'jit=off'],
      array['_note_signals']
    union all
    -- The first rows of a partial index, or of a queue's.
    select
      array['enable_seqscan=off', 'jit=off'],
      array[
        '_count_behind',
        '_held_problems',
        '_overdue_problems',
        '_queue_groups',
        '_queue_heads',
        '_retry_problems'
      ]
    union all
    -- Two tables are compared whole, whatever the caller has ruled out.
    select
      array['enable_seqscan=on', 'enable_hashjoin=on'],
      array['_without_pointer']
  ) as p
  cross join unnest(p.functions) as f (name)
$$;

comment on function dripdrop._planner_settings() is
  'The settings of the planner that functions run under, one row per function.';

-- Last, because a function that is replaced loses them.
do $$
declare
  v_one record;
begin
  for v_one in
    select
      f.oid::regprocedure as function,
      split_part(s.setting, '=', 1) as name,
      split_part(s.setting, '=', 2) as value
    from dripdrop._planner_settings() as p
    join pg_catalog.pg_proc as f
      on f.proname = p.function and f.pronamespace = 'dripdrop'::regnamespace
    cross join unnest(p.settings) as s (setting)
  loop
    execute format('alter function %s set %I = %L', v_one.function, v_one.name, v_one.value);
  end loop;
end
$$;
