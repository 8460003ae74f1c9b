-- Who may do what, as data to review. Functions are the only way in: they run as the owner of the
-- schema, who cannot log in; the application's code is called as dripdrop_hooks, who may do nothing
-- here. Nothing is granted to public. Readers see tables, less the sealed columns, through
-- row-level security.
do $$
declare
  v_owner text := coalesce(
    (
      select r.rolname
      from pg_catalog.pg_roles as r
      where r.rolname = 'dripdrop_owner' and pg_catalog.pg_has_role(current_user, r.oid, 'usage')
    ),
    current_user
  );
  v_grants constant jsonb := '{
    "dripdrop_admin": [
      "_row_deleted",
      "activate_sequence_version",
      "apply",
      "channels",
      "check_schema",
      "check_thresholds",
      "create_channel_adapter",
      "create_condition",
      "create_exit_rule",
      "create_hook",
      "create_http_hook",
      "create_sequence",
      "create_sequence_version",
      "create_step",
      "create_step_transition",
      "create_topic",
      "cron_next",
      "delete_channel_adapter",
      "delete_condition",
      "delete_http_hook",
      "delete_step",
      "delete_step_transition",
      "delete_topic",
      "drop_exit_rule",
      "drop_frequency_cap",
      "drop_hook",
      "enroll",
      "enroll_many",
      "erase_subscriber",
      "errors",
      "explain",
      "export_subscriber",
      "fields",
      "forecast",
      "get_active_sequence_version",
      "get_default_adapter",
      "get_enrollment",
      "get_http_hook",
      "get_sequence",
      "get_subscriptions",
      "hold_sequence",
      "idempotency_key",
      "is_suppressed",
      "json_schema",
      "latest_step_by_key",
      "list_active_enrollments",
      "list_channel_adapters",
      "list_circuits",
      "list_enrollments",
      "list_frequency_caps",
      "list_hooks",
      "list_http_hooks",
      "list_messages",
      "list_sending_pauses",
      "list_sequence_versions",
      "list_steps",
      "list_suppressions",
      "list_topics",
      "list_workers",
      "migrate_enrollments",
      "migrate_preview",
      "missing_permissions",
      "needs_key",
      "next_opening",
      "next_time",
      "on_delete",
      "open_transactions",
      "parse_timing",
      "pause_adapter",
      "pause_enrollment",
      "pause_sending",
      "plan",
      "provider_settings",
      "providers",
      "prune",
      "reconcile",
      "record_hook_test",
      "register_channel",
      "register_provider",
      "release",
      "replay",
      "reply_codes",
      "reseal_adapter",
      "reseal_http_hook",
      "resolve",
      "resume_adapter",
      "resume_enrollment",
      "resume_sending",
      "resume_sequence",
      "sealed_adapters",
      "sealed_http_hooks",
      "set_adapter_limits",
      "set_adapter_sequence_budget",
      "set_frequency_cap",
      "set_holidays",
      "set_subscription",
      "simulate",
      "skip_held",
      "startup_check",
      "status",
      "suppress",
      "suppress_many",
      "template_variables",
      "tick",
      "track_event",
      "track_events",
      "unenroll",
      "unenroll_subscriber",
      "unregister_channel",
      "unregister_provider",
      "unsuppress",
      "update_channel_adapter",
      "update_condition",
      "update_enrollment",
      "update_exit_rule",
      "update_http_hook",
      "update_step",
      "update_step_content",
      "update_step_transition",
      "update_subscriber",
      "update_tenant_settings",
      "update_topic",
      "validate_sequence_version",
      "version"
    ],
    "dripdrop_app": [
      "_row_deleted",
      "channels",
      "cron_next",
      "enroll",
      "enroll_many",
      "erase_subscriber",
      "errors",
      "explain",
      "export_subscriber",
      "fields",
      "get_active_sequence_version",
      "get_enrollment",
      "get_sequence",
      "get_subscriptions",
      "hold_sequence",
      "is_suppressed",
      "json_schema",
      "latest_step_by_key",
      "list_active_enrollments",
      "list_enrollments",
      "list_messages",
      "list_sequence_versions",
      "list_steps",
      "list_topics",
      "next_opening",
      "next_time",
      "on_delete",
      "parse_timing",
      "pause_enrollment",
      "providers",
      "reply_codes",
      "resume_enrollment",
      "resume_sequence",
      "set_subscription",
      "suppress",
      "track_event",
      "track_events",
      "unenroll",
      "unenroll_subscriber",
      "update_enrollment",
      "update_subscriber",
      "version"
    ],
    "dripdrop_sender": [
      "call_hook",
      "channels",
      "check_schema",
      "check_thresholds",
      "claim_due",
      "claim_hooks",
      "claim_rendered",
      "claim_renders",
      "claim_sends",
      "complete_hooks",
      "complete_renders",
      "complete_sends",
      "errors",
      "forget_worker",
      "get_http_hook",
      "leased_renders",
      "missing_permissions",
      "needs_key",
      "next_due",
      "note_fault",
      "note_worker",
      "open_transactions",
      "provider_settings",
      "providers",
      "reconcile",
      "record_hook_test",
      "release_claim",
      "reply_codes",
      "startup_check",
      "tick",
      "version"
    ],
    "dripdrop_web": [
      "errors",
      "subscription_page",
      "unsubscribe",
      "update_subscriptions",
      "version"
    ],
    "dripdrop_reader": [
      "_now",
      "_set_time",
      "_visible",
      "_without_pointer",
      "channels",
      "errors",
      "fields",
      "json_schema",
      "provider_settings",
      "providers",
      "reply_codes",
      "version"
    ]
  }';
  v_role text;
  v_object record;
begin
  execute format('grant usage, create on schema dripdrop to %I', v_owner);
  for v_object in
    select format(
      'alter %s dripdrop.%I owner to %I',
      case c.relkind
        when 'r' then 'table' when 'v' then 'view' when 'S' then 'sequence'
        else 'materialized view'
      end,
      c.relname,
      v_owner
    ) as command
    from pg_catalog.pg_class as c
    where c.relnamespace = 'dripdrop'::regnamespace and c.relkind in ('r', 'v', 'm', 'S')
    union all
    select format('alter function %s owner to %I', p.oid::regprocedure, v_owner)
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'dripdrop'::regnamespace
    union all
    select format('alter type dripdrop.%I owner to %I', c.relname, v_owner)
    from pg_catalog.pg_class as c
    where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'c'
    union all
    select format('alter schema dripdrop owner to %I', v_owner)
    -- Fail closed: a login role that is granted a table still sees nothing
    -- until it names its tenant.
    union all
    select format(
      'alter table dripdrop.%I enable row level security, no force row level security', c.relname
    )
    from pg_catalog.pg_class as c
    where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'r'
    union all
    select format(
      'drop policy if exists %I on dripdrop.%I', a.relname || '_of_the_tenant', a.relname
    )
    from pg_catalog.pg_class as a
    where a.relnamespace = 'dripdrop'::regnamespace and a.relkind = 'r'
    union all
    select format(
      'create policy %I on dripdrop.%I using (dripdrop._visible(tenant_key))',
      c.relname || '_of_the_tenant',
      c.relname
    )
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attname = 'tenant_key'
    where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'r'
  loop
    execute v_object.command;
  end loop;

  revoke all on all functions in schema dripdrop from public;
  revoke all on all tables in schema dripdrop from public;

  for v_role in select jsonb_object_keys(v_grants) loop
    continue when not exists (select from pg_catalog.pg_roles where rolname = v_role);
    execute format('revoke all on all functions in schema dripdrop from %I', v_role);
    execute format('revoke all on all tables in schema dripdrop from %I', v_role);
    execute format('grant usage on schema dripdrop to %I', v_role);
    for v_object in
      select p.oid::regprocedure as signature
      from jsonb_array_elements_text(v_grants -> v_role) as f (name)
      left join pg_catalog.pg_proc as p
        on p.pronamespace = 'dripdrop'::regnamespace and p.proname = f.name
    loop
      execute format('grant execute on function %s to %I', v_object.signature, v_role);
    end loop;
  end loop;

  -- Who gives a function away must let its new owner create it, for as long as that takes.
  if exists (
    select from pg_catalog.pg_roles as r
    where r.rolname = 'dripdrop_hooks' and pg_catalog.pg_has_role(current_user, r.oid, 'usage')
  ) then
    grant usage, create on schema dripdrop to dripdrop_hooks;
    alter function dripdrop._call_function(regprocedure, dripdrop.enrollments, jsonb)
    owner to dripdrop_hooks;
    revoke create on schema dripdrop from dripdrop_hooks;
    execute format(
      'grant execute on function dripdrop._call_function(regprocedure, dripdrop.enrollments, jsonb)
        to %I',
      v_owner
    );
  end if;

  if exists (select from pg_catalog.pg_roles where rolname = 'dripdrop_reader') then
    for v_object in
      select
        c.relname as table_name,
        string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns
      from pg_catalog.pg_class as c
      join pg_catalog.pg_attribute as a
        on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where c.relnamespace = 'dripdrop'::regnamespace
        and c.relkind in ('r', 'v')
        and a.attname not in ('credentials', 'auth_config', 'salt')
        -- A column that somebody added may hold anything. Where nothing is expected yet, the
        -- tables are as they have just been made.
        and (
          c.relkind = 'v'
          or not exists (select from dripdrop._expected())
          or exists (
            select
            from dripdrop._expected() as e
            where e.kind = 'column' and e.name = c.relname || '.' || a.attname
          )
        )
      group by c.relname
    loop
      execute format(
        'grant select (%s) on dripdrop.%I to dripdrop_reader', v_object.columns, v_object.table_name
      );
    end loop;
  end if;
end
$$;
