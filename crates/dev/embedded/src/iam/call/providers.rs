//! The calls about OpenID Connect providers.

use super::{Answer, Call};
use crate::iam::answer::{Done, Page, ProviderArn, ProviderArnMember, ProviderResult};
use crate::iam::directory::provider_arn;
use crate::iam::refusal::Refusal;

impl Call {
    pub(super) fn create_provider(&mut self) -> Answer {
        let url = self.form.need("Url")?;
        let clients = self.form.list("ClientIDList")?;
        let thumbprints = self.form.list("ThumbprintList")?;
        let arn = provider_arn(&url);
        self.allow(&arn)?;
        let now = self.now;
        self.change(|directory| directory.create_provider(&url, clients, thumbprints, now))?;
        self.done(&ProviderArn { arn })
    }

    pub(super) fn get_provider(&mut self) -> Answer {
        let arn = self.provider()?;
        let directory = self.keys.directory()?;
        self.done(&ProviderResult::of(directory.provider(&arn)?))
    }

    pub(super) fn list_providers(&mut self) -> Answer {
        self.allow("*")?;
        let directory = self.keys.directory()?;
        let members = directory.providers().map(|provider| ProviderArnMember {
            arn: provider_arn(&provider.url),
        });
        let page = Page {
            members: members.collect(),
            marker: None,
        };
        self.listing("OpenIDConnectProviderList", &page)
    }

    pub(super) fn delete_provider(&mut self) -> Answer {
        let arn = self.provider()?;
        self.change(|directory| directory.delete_provider(&arn))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn add_client(&mut self) -> Answer {
        let client = self.form.need("ClientID")?;
        let arn = self.provider()?;
        self.change(|directory| directory.add_client(&arn, client))?;
        Ok(Done::silent(&self.action))
    }

    pub(super) fn remove_client(&mut self) -> Answer {
        let client = self.form.need("ClientID")?;
        let arn = self.provider()?;
        self.change(|directory| directory.remove_client(&arn, &client))?;
        Ok(Done::silent(&self.action))
    }

    /// The provider that is named, if the caller may do this to it.
    fn provider(&mut self) -> Result<String, Refusal> {
        let arn = self.form.need("OpenIDConnectProviderArn")?;
        self.allow(&arn)?;
        Ok(arn)
    }
}
