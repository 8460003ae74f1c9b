-- The same as saas_onboarding.yaml, step by step. In psql, with saas_onboarding_app.sql run before:
--
--   psql -f saas_onboarding_app.sql -f saas_onboarding.sql app
--
-- From then on a sign-up is one transaction of the application:
--
--   begin;
--   insert into app.users (name, email, phone, plan_tier)
--   values ('Ada', 'ada@example.com', '+15555550100', 'enterprise')
--   returning id;
--   insert into app.setup_tasks (user_id, task) values (1, 'import'), (1, 'invite');
--   select dripdrop.enroll(
--     tenant_key => null,
--     sequence => 'saas_onboarding',
--     subscriber_type => 'User',
--     subscriber_id => '1',
--     data => '{"name": "Ada", "email": "ada@example.com", "phone": "+15555550100", "plan_tier": "enterprise"}'
--   );
--   commit;

begin;

select id as sequence
from dripdrop.create_sequence(
  tenant_key => null, key => 'saas_onboarding', name => 'SaaS User Onboarding'
) \gset

select id as version from dripdrop.create_sequence_version(null, :'sequence') \gset

select key, position
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'welcome',
  name => 'Welcome Email',
  channel => 'email',
  template => $${
    "subject": "Welcome {{ name }}!",
    "text": "Hi {{ name }},\n\ngood to have you. Your dashboard is waiting.\n",
    "html": "<p>Hi {{ name }},</p>\n<p>good to have you. Your <a href=\"https://app.example.com\">dashboard</a> is waiting.</p>\n"
  }$$
);

select key, position
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'welcome_notification',
  name => 'Welcome Notification',
  channel => 'webhook',
  timing => '"in 5 minutes"',
  template => '{
    "type": "notification",
    "body": {"topic": "user:{{ subscriber_id }}", "message": "Check out your dashboard!"}
  }'
);

select id as setup_reminder
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'setup_reminder',
  name => 'Setup Reminder',
  channel => 'email',
  timing => '"in 1 day"',
  template => '{
    "subject": "Finish setup in 5 minutes",
    "text": "Hi {{ name }}, you are {{ progress }} % there."
  }'
) \gset

-- Only for those who have not done it by then.
select condition_type, operator, expected_value
from dripdrop.create_condition(
  tenant_key => null,
  step_id => :'setup_reminder',
  condition => '{"hook": "setup_completed", "operator": "eq", "expected_value": false}'
);

select key, position
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'weekly_digest',
  name => 'Weekly Digest',
  channel => 'email',
  timing => '{
    "type": "cron", "cron_expression": "every monday at 9am", "timezone": "America/New_York"
  }',
  template => '{"subject": "Your weekly summary", "text": "Hi {{ name }}, this was your week."}'
);

select id as activation_sms
from dripdrop.create_step(
  tenant_key => null,
  sequence_version_id => :'version',
  key => 'activation_sms',
  name => 'Activation SMS',
  channel => 'webhook',
  timing => '"in 7 days"',
  template => $${
    "type": "sms",
    "body": {
      "to": "{{ phone }}",
      "text": "Hi {{ name }}! You've completed {{ progress }}% of setup."
    }
  }$$
) \gset

select condition_type, operator, expected_value
from dripdrop.create_condition(
  tenant_key => null,
  step_id => :'activation_sms',
  condition => '{"field_path": "plan_tier", "operator": "eq", "expected_value": "enterprise"}'
);

select version, state from dripdrop.activate_sequence_version(null, :'version');

commit;
