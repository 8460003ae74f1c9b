-- The widest pause that covers a sender's messages of a sequence. Asked once per step, so that the
-- switch costs a message nothing.
create or replace function dripdrop._sending_pause(
  tenant_key text,
  sequence text,
  channel text,
  adapter_id uuid
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(' ', p.scope, p.subject) || coalesce(': ' || p.reason, '')
  from dripdrop.sending_pauses as p
  left join dripdrop.channel_adapters as a on a.id = _sending_pause.adapter_id
  where case p.scope
    when 'everything' then true
    when 'adapter' then p.subject = a.name and p.tenant_key is not distinct from a.tenant_key
    else
      p.tenant_key is not distinct from _sending_pause.tenant_key
      and case p.scope
        when 'tenant' then true
        when 'sequence' then p.subject = _sending_pause.sequence
        when 'channel' then p.subject = _sending_pause.channel
      end
  end
  order by array_position(array['everything', 'tenant', 'sequence', 'channel', 'adapter'], p.scope)
  limit 1
$$;

comment on function dripdrop._sending_pause(text, text, text, uuid) is
  'The pause of sending that holds such messages, in words, or null.';
