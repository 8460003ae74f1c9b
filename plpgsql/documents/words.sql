-- What other systems, and people from memory, call a field. Nothing with another name is taken for
-- it: a word that is silently understood in one place is silently dropped in the next.
create or replace function dripdrop._words()
returns table (document text, word text, instead text)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  values
    ('sequence', 'timezone', '"time_zone"'),
    ('sequence', 'default_timezone', '"time_zone"'),
    ('sequence', 'allow_reenrollment', '"reentry": "after_exit" or "always"'),
    ('sequence', 'hook_module', '"hooks" for HTTP hooks, and create_hook() for SQL functions'),
    ('sequence', 'http_hooks', '"hooks"'),
    ('sequence', 'exit_rules', '"exit_when"'),
    ('sequence', 'exits', '"exit_when"'),
    ('sequence', 'goal', '"goals", a list'),
    ('sequence', 'active', '"activate"'),
    ('sequence', 'transitions', '"transitions" in the steps they leave, and "entry" for the first'),
    ('sequence', 'channel_adapters', '"channel_adapters" in "metadata"'),
    ('sequence', 'quiet_hours', '"send_window" in the config of a step, or of the tenant'),
    ('sequence', 'send_window', '"send_window" in the config of a step, or of the tenant'),
    ('step', 'template_content', '"template"'),
    ('step', 'content', '"template"'),
    ('step', 'template_type', '"template" alone: its fields are Liquid'),
    ('step', 'subject', '"subject" in "template"'),
    ('step', 'body', '"text" or "html" in "template", for a webhook "body" there'),
    ('step', 'html', '"html" in "template"'),
    ('step', 'text', '"text" in "template"'),
    ('step', 'channel_adapter', '"adapter", the name of a sender'),
    ('step', 'channel_adapter_id', '"adapter", the name of a sender'),
    ('step', 'adapter_override_id', '"adapter", the name of a sender'),
    ('step', 'adapter_id', '"adapter", the name of a sender'),
    ('step', 'delay', '"timing": "in 3 days"'),
    ('step', 'delay_amount', '"delay_amount" in "timing"'),
    ('step', 'delay_unit', '"delay_unit" in "timing"'),
    ('step', 'cron_expression', '"cron_expression" in "timing"'),
    ('step', 'trigger_event', '"trigger_event" in "timing"'),
    ('step', 'timezone', '"time_zone" in "config"'),
    ('step', 'time_zone', '"time_zone" in "config"'),
    ('step', 'quiet_hours', '"send_window" in "config"'),
    ('step', 'send_window', '"send_window" in "config"'),
    ('step', 'condition', '"conditions", a list'),
    ('step', 'max_retries', '"max_retries" in "config"'),
    ('step', 'recurring', '"recurring" in "timing"'),
    ('config', 'timezone', '"time_zone"'),
    ('config', 'quiet_hours', '"send_window"'),
    (
      'config', 'sending_rules',
      'its settings by themselves: "daily_cap", "time_zone" and the like'
    ),
    ('config', 'rate_limit', '"rate_limits"'),
    ('config', 'concurrency', 'set_adapter_limits(concurrency => …)'),
    ('config', 'unsubscribe_headers', '"unsubscribe"'),
    ('config', 'subject', '"subject" in "template"'),
    ('config', 'body', '"text" or "html" in "template"'),
    ('config', 'url', '"url" in "template"'),
    ('config', 'method', '"method" in "template"'),
    ('config', 'template_variables', 'them into the data that enroll() takes'),
    ('template', 'body', '"text" or "html"'),
    ('template', 'body_html', '"html"'),
    ('template', 'body_text', '"text"'),
    ('template', 'html_body', '"html"'),
    ('template', 'text_body', '"text"'),
    ('template', 'title', '"subject"'),
    ('template', 'to', '"recipient_key" in the config of the step: the field with the address'),
    ('template', 'replyto', '"reply_to"'),
    ('template', 'reply-to', '"reply_to"'),
    ('template', 'payload', '"body"'),
    ('template', 'endpoint', '"url"'),
    ('condition', 'condition_type', '"type"'),
    ('condition', 'http_hook_id', '"hook", the key of the hook'),
    ('condition', 'http_hook', '"hook", the key of the hook'),
    ('condition', 'hook_function', '"hook", the key of the hook'),
    ('condition', 'hook_key', '"hook"'),
    ('condition', 'expected', '"expected_value"'),
    ('condition', 'value', '"expected_value"'),
    ('condition', 'field', '"field_path"'),
    ('condition', 'path', '"field_path"'),
    ('condition', 'expression', '"predicate"'),
    ('condition', 'event_key', '"event"'),
    ('condition', 'event_name', '"event"'),
    ('condition', 'window', '"within"'),
    ('condition', 'timezone', '"time_zone"'),
    ('condition', 'config', 'its fields beside "type"'),
    ('transition', 'to_step', '"to"'),
    ('transition', 'to_step_id', '"to", the key of a step'),
    ('transition', 'from_step', 'the transition into the step that it leaves'),
    ('transition', 'from_step_id', 'the transition into the step that it leaves'),
    ('transition', 'condition_mode', '"when"'),
    ('transition', 'condition', '"conditions", a list'),
    ('transition', 'priority', 'the transitions in the order in which they are tried'),
    ('timing', 'time_zone', '"timezone"'),
    ('timing', 'amount', '"delay_amount"'),
    ('timing', 'unit', '"delay_unit"'),
    ('timing', 'cron', '"cron_expression"'),
    ('timing', 'expression', '"cron_expression"'),
    ('timing', 'event', '"trigger_event"'),
    ('timing', 'event_key', '"trigger_event"'),
    ('timing', 'days', '"delay_amount": 3, "delay_unit": "days"'),
    ('timing', 'hours', '"delay_amount": 3, "delay_unit": "hours"'),
    ('hook', 'body', '"body_template"'),
    ('hook', 'timeout', '"timeout_ms"'),
    ('hook', 'retries', '"retry_count"'),
    ('hook', 'auth', '"auth_type", and pass sealed credentials to update_http_hook()'),
    ('hook', 'path', '"response_path"'),
    ('hook', 'type', '"response_type"')
$$;

comment on function dripdrop._words() is
  'What fields of documents are called elsewhere, and what to write instead.';

create or replace function dripdrop._unknown_field_hint(document text, word text, hint text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    (
      select format('Write %s instead. %s', w.instead, _unknown_field_hint.hint)
      from dripdrop._words() as w
      where w.document = _unknown_field_hint.document and w.word = lower(_unknown_field_hint.word)
    ),
    _unknown_field_hint.hint
  )
$$;

comment on function dripdrop._unknown_field_hint(text, text, text) is
  'The hint for a field that a document does not have.';
