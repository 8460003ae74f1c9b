-- The same as lead_nurture.yaml, step by step. In psql:
--
--   psql -f lead_nurture.sql app
--   select dripdrop.enroll(
--     tenant_key => null,
--     sequence => 'lead_nurture',
--     subscriber_type => 'Lead',
--     subscriber_id => '7',
--     data => '{"name": "Kim", "email": "kim@example.com", "company_name": "Initech"}'
--   );
--   select dripdrop.track_event(
--     null, 'call_booked', subscriber_type => 'Lead', subscriber_id => '7'
--   );

begin;

select id as sequence
from dripdrop.create_sequence(
  tenant_key => null, key => 'lead_nurture', name => 'Lead Nurture'
) \gset

select key, method, response_type
from dripdrop.create_http_hook(
  tenant_key => null,
  sequence_id => :'sequence',
  key => 'lead_score',
  name => 'Lead Score',
  method => 'POST',
  url => 'https://hooks.zapier.com/hooks/catch/YOUR_WEBHOOK/',
  body_template => '{"email": "{{ email }}"}',
  response_path => 'score',
  response_type => 'number'
);

-- Whoever has booked a call needs no more mail.
select outcome, name
from dripdrop.create_exit_rule(
  tenant_key => null,
  sequence_id => :'sequence',
  outcome => 'goal',
  condition => '{"name": "call_booked", "event": "call_booked"}'
);

select id as version from dripdrop.create_sequence_version(null, :'sequence') \gset

select key, position
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'initial_email',
  name => 'Initial Email',
  channel => 'email',
  template => '{
    "subject": "Quick question about {{ company_name }}",
    "text": "Hi {{ name }}, who looks after onboarding at {{ company_name }}?"
  }'
);

select id as enterprise_pitch
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'enterprise_pitch',
  name => 'Enterprise Pitch',
  channel => 'email',
  timing => '"in 3 days"',
  template => '{
    "subject": "What {{ company_name }} could save",
    "text": "Hi {{ name }}, shall we talk for a quarter of an hour?"
  }'
) \gset

select id as notify_sales
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'notify_sales',
  name => 'Notify Sales',
  channel => 'webhook',
  timing => '"in 3 days"',
  template => '{
    "type": "slack",
    "body": {
      "channel": "#sales",
      "text": "🔥 Hot lead: {{ name }} at {{ company_name }} (score: {{ lead_score }})"
    }
  }'
) \gset

-- Both are for hot leads only.
select s.key, c.hook, c.operator, c.expected_value
from dripdrop.list_steps(null, :'version') as s
cross join lateral dripdrop.create_condition(
  tenant_key => null,
  step_id => s.id,
  condition => '{"hook": "lead_score", "operator": "gte", "expected_value": 70}'
) as c
where s.id in (:'enterprise_pitch', :'notify_sales');

select key, position
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'update_crm',
  name => 'Update CRM',
  channel => 'webhook',
  timing => '"in 14 days"',
  template => '{
    "url": "https://crm.example.com/api/leads/{{ subscriber_id }}",
    "method": "PATCH",
    "type": "lead.updated",
    "body": {"status": "unresponsive"}
  }'
);

select version, state from dripdrop.activate_sequence_version(null, :'version');

commit;
