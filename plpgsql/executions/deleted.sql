-- What was sent stays in the log when the row that says so is deleted: senders are judged by it.
create or replace function dripdrop._keep_sent()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into dripdrop.message_reports (
    tenant_key, step_execution_id, adapter_id, channel, provider, provider_message_id,
    event_type, event_data, occurred_at
  )
  select
    x.tenant_key, x.id, x.adapter_id, x.channel, coalesce(a.provider, 'dripdrop'),
    x.provider_message_id, 'sent', jsonb_build_object('reason', x.reason), x.ended_at
  from gone as x
  left join dripdrop.channel_adapters as a on a.id = x.adapter_id
  where x.state = 'sent';
  return null;
end
$$;

comment on function dripdrop._keep_sent() is
  'Trigger: logs of deleted executions that they were sent.';

create or replace trigger step_executions_keep_sent
after delete on dripdrop.step_executions
referencing old table as gone
for each statement
execute function dripdrop._keep_sent();
